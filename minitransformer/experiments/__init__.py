"""Experiments that train models to answer a question. README.md describes the folders."""
