"""Objects and their numbers."""
