"""What the lines of several commands have in common: whole numbers, read and written."""

import argparse


def whole_number(least, what):
    """Return a type for argparse: a whole number of at least `least`. `what` begins the message about anything else."""

    def read(text):
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or number < least:
            raise argparse.ArgumentTypeError(f"{what} is a whole number, {least} or more, not {text}")
        return number

    return read


def counted(n, noun):
    """Return `1 case`, `2 cases` or `1,000 cases`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
