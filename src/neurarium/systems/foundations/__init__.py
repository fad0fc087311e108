"""Foundations: from least squares to model selection."""
