"""What the Triton kernels compile to, on each target, without a device."""
