"""Measurements of speed, memory and growth, behind `minitransformer bench`. README.md lists the files."""
