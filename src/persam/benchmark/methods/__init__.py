"""What is measured: PerSAM in all its forms, and others to stand beside it, behind one protocol."""
