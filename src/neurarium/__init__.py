"""neurarium: every learning system of the deep-learning canon, alive in one house."""

__version__ = "0.1.0"
