"""The tab Find: what was taught is looked for in photos, a folder or a clip."""
