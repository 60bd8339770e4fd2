"""What peers of one kind share: being found, tried in a process of their own, given the cache they like."""
