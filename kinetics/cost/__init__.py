"""What work costs: FLOP and bytes of kernels, decode steps and answers."""
