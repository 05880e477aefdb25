"""The tab Study: several people mask the same photos, each alone."""
