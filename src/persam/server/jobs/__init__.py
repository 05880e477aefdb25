"""Jobs of the service: albums and clips, which take longer than a request may, and outlive the server's end."""
