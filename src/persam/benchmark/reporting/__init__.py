"""What a run came to: protocols, tables beside the published numbers, pictures."""
