"""Derivations of gradients, written by a student and judged line by line."""
