"""The paper in its order: settings, learn (Eq. 3-5), prior (5-10), segment (Fig. 3, E.5), scale (11)."""
