"""The front layer of a program: exits, streams, signals, tables and processes. It needs the standard library only."""
