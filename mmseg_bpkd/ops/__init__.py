"""Tensor functions on boundaries."""
