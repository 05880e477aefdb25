"""Promptable models behind one small protocol (`base`), and encoders for the confidence map."""
