"""Albums: thousands of photos, found out once, asked often, and handed to other tools."""
