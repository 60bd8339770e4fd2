"""Decode attention over a paged KV cache: dense, and sparse by block top-k. The functions live in `api`."""
