"""Ready questions, one file each: modes, ablation, robustness, encoders, and what it costs in time and memory."""
