"""A circuit as data."""
