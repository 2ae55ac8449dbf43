"""What networks cost, and why they differ."""
