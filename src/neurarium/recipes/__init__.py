"""A page you can run for every system, at the same path as the system."""
