"""PerSAM-assisted DreamBooth (paper, section 2.4): text-to-image models trained on a subject's pixels alone.

Nothing is imported here: diffusers takes seconds, and preparing photos does not need it.
"""
