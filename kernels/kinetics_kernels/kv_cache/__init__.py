"""Writing the paged KV cache and summarising its pages: one module per backend, the same functions in each."""
