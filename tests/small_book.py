"""The chapters of the book, each read once for all tests."""

from functools import cache

from minitransformer.book.chapters import CHAPTERS, PACKAGE
from minitransformer.book.derivations import read_derivations
from minitransformer.book.specimens import specimens

SPECIMENS = specimens()


@cache
def derivations(file):
    """Return what a file of the textbook derives, executed."""
    return read_derivations(PACKAGE / file, SPECIMENS.get(file, []))


def every_chapter():
    """Yield (chapter, what it derives)."""
    for chapter in CHAPTERS:
        yield chapter, derivations(chapter.file)
