"""Training data: data sets, the order of their examples, pipelines."""
