"""Images ranked by a sentence; the method is in ``my_method.py``."""
