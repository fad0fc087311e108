"""The run folder, the loop, checkpoints, seeds, devices, the catalogue and results."""
