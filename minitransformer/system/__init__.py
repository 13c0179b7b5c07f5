"""Settings, files, processes and the terminal: code that any program needs, whatever its subject.

    tuning.py       settings of the process that make it faster
    terminal.py     a command's output, its errors in one line, and its exit status
    stopping.py     Ctrl-C, SIGTERM and SIGHUP
    printable.py    text from elsewhere, with control characters escaped
    tables.py       rows of cells as lines of text
    narrator.py     progress on standard error: lines and bars
    extras.py       packages that are optional
    values.py       validation of settings
    files.py        files written completely or not at all
    folders.py      folders that one run at a time works in
    archive.py      named arrays in a file, with a description
    cores.py        the number of cores, and work that is spread over them
    bounded.py      other people's code, within limits of time and memory
    pictures.py     one style for all pictures
    version.py      the version number

No file imports NumPy when it is loaded but archive.py, so that a program can handle signals before it imports
anything else.
"""
