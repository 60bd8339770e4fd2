"""Products of a weight matrix with few tokens."""
