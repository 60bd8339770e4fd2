"""What lies between the matrix products of a decode step, each as one call: norms, rotation, gate."""
