"""The bundled model: its architecture, its weights, and the recipe that trained them."""
