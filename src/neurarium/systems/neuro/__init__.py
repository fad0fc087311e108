"""Neuro: simulated neurons and populations."""
