"""Evaluation: which pairs are scored, the scores, their tables and statistics."""
