"""What the Triton kernels share: tiles, splits, configurations, the device."""
