"""Metrics: pure functions on predictions and targets."""
