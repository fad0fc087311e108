"""One idea a file, by family."""
