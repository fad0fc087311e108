"""Generative: systems that make what they were shown."""
