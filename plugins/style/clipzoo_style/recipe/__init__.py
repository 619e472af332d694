"""Settings of the papers, by name."""
