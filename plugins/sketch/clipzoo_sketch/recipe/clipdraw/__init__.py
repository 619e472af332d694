"""Settings of CLIPDraw by name."""
