"""How the bundled model is made; see README.md. Run it from the repository's root; it is no part of the wheel."""
