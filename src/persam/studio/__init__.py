"""A page for people: draw once what is yours, and see it found."""
