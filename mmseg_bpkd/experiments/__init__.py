"""Grids of training runs: what is behind `tools/experiment.py`."""
