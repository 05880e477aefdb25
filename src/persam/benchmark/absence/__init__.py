"""Is it there at all? Every object is looked for in every other object's photos (the paper's table 18)."""
