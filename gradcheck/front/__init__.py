"""Command-line programs: exit statuses, streams, signals, tables and processes.

These modules need only the standard library.
"""
