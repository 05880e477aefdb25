"""Do the masks of a thing agree in 3D? Views with known cameras, masks of them, and which of them disagree."""
