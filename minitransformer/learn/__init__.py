"""Derive it yourself: exercises cut from the source, and their grading."""
