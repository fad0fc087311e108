"""Energy: networks that settle where an energy is low."""
