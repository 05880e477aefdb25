"""Measurements: how good, how fast. One file a question; `persam bench` prints the answers."""
