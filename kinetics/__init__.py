"""What test-time scaling costs on this machine: predictions, measurements, and the accuracy they buy."""
