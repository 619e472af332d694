"""How the bundled encoders are made: the toy world in, a small CLIP out."""
