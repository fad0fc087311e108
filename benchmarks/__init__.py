"""Side by side with peers: ratios taken in one run, `python -m benchmarks [NAME ...]`."""
