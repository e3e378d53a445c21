"""Writing and reading the files of runs."""
