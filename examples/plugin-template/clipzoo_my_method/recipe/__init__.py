"""Settings by name: ``clipzoo run my-method recipe=photos``."""
