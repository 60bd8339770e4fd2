"""The law from logs of one's own: every way to spend, what it costs here, and the frontiers made of them."""
