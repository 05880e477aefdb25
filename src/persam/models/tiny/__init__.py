"""The bundled model: its architecture and its weights; the recipe that trained them is in training/."""
