"""Metrics, one truth for the whole project: pure functions in `persam.metrics.functional`, classes here."""
