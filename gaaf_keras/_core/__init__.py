"""What activations are, and how they are given another gradient."""
