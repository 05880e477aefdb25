"""What all reports are made of: tables, pictures, pages, and what a number depends on."""
