"""Dense decode attention over a paged KV cache: one module per backend, the same function in each."""
