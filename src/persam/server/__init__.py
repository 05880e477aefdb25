"""A service for programs: concepts are learned and photos segmented over HTTP, albums and clips as jobs."""
