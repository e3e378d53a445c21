"""Sets of runs: what they contain, and how to train them."""
