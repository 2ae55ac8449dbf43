"""Grids of runs: training, statistics, tables and plots."""
