"""What runs leave on disk: how it is written, and how it is read."""
