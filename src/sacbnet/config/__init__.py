"""TODO-DOC room."""
