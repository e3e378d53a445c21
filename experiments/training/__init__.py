"""One run: training a network, its best epoch, its scores."""
