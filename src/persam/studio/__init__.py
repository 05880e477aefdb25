"""A page for people: draw once what is yours, and see it found.

Nothing here is imported by `persam` or its other commands: it needs the extra `studio`.
"""
