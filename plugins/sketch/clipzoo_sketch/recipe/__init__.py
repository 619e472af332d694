"""Settings of the papers by name: ``recipe=NAME``."""
