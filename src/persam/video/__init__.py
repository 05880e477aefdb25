"""Video: the object through a clip, from its first frame or from a concept; read, track, write."""
