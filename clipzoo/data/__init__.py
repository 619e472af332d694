"""Data: the toy world, the registry of datasets, downloads."""
