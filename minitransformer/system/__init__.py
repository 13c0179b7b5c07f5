"""The process, the terminal, signals and optional packages: code that any program needs, whatever its subject.

    tuning.py       settings of the process that make it faster
    terminal.py     a command's output, its errors in one line, and its exit status
    stopping.py     Ctrl-C, SIGTERM and SIGHUP
    printable.py    text from elsewhere, with control characters escaped
    tables.py       rows of cells as lines of text
    narrator.py     progress on standard error: lines and bars
    extras.py       packages that are optional

Only the standard library is imported here, so that a program can handle signals before it imports anything else.
"""
