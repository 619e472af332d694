"""Settings of the paper, by name."""
