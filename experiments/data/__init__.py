"""What networks are trained on: data sets, the order of their examples, pipelines."""
