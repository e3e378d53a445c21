"""One run: a network trained on data, its best epoch, its score."""
