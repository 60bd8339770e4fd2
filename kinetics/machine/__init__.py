"""The device at hand: what it is, how fast it can go, what it draws."""
