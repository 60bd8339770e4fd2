"""Arguments of the kernel API, checked once."""
