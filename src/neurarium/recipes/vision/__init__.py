"""Vision: systems that look at pictures."""
