"""Few-shot classification from the pixels of the object alone (paper, appendix E.10)."""
