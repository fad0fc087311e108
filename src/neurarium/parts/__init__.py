"""Modules and pure functions that several systems share."""
