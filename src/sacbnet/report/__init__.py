"""What is said about a run: run.json and its numbers."""
