"""Checkpoints, and the files that come with the package."""
