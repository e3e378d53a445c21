"""Many runs: which there are, and how they are done."""
