"""Data sets and the streams of batches they become."""
