"""How much suites of albums do where nobody says otherwise: nothing is loaded for it, so that `--help` can tell it."""

ALBUM_PHOTOS = 8  # of a thing, and as many of others: an album that one core goes through again and again
CORRECTIONS = 5  # in every album
LOTS = 3  # random orders, of which the mean counts
