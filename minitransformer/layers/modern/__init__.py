"""Components of models after 2023, one function per file, each with its derivation.

README.md in this folder lists them in reading order.
"""
