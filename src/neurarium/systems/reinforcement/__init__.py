"""Reinforcement: systems that learn from their own experience."""
