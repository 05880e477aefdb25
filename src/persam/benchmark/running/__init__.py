"""A run: methods asked about every photo, what they answered kept, so that a run that was stopped goes on."""
