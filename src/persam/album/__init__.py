"""Albums: thousands of photos, several concepts, and an index that remembers what was found."""
