"""Settings of CLIPasso by name."""
