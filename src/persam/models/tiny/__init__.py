"""The bundled model: its architecture and its weights; the recipe that trained them is in training/."""

FORMAT = "persam-tiny-sam/1"  # of files with its weights, as they say of themselves
