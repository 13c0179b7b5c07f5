"""Settings, files, processes and the terminal: code that any program needs. README.md lists the files."""
