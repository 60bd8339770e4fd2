"""What is measured: grids of kernel cases and of whole decode steps, and how much work each is."""
