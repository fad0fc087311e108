"""Sequence: systems that keep a state through time."""
