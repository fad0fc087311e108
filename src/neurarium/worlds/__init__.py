"""Games and environments: what experience comes from."""
