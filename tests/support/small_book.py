"""The chapters of the book, each read once for all tests, and the whole book without the half minute of its checks."""

from functools import cache

import pytest

from gradcheck.certify import Certificate
from gradcheck.identities import Identity
from gradcheck.report import ArgumentReport, Report
from minitransformer.book import appendix, writing
from minitransformer.book.chapters import CHAPTERS, PACKAGE
from minitransformer.book.derivations import read_derivations
from minitransformer.book.specimens import specimens
from minitransformer.learn.exercises import names_by_file

SPECIMENS = specimens()


@cache
def derivations(file):
    """Return the executed derivations of a file of the textbook."""
    return read_derivations(PACKAGE / file, SPECIMENS.get(file, []))


def every_chapter():
    """Yield (chapter, derivations)."""
    for chapter in CHAPTERS:
        yield chapter, derivations(chapter.file)


def not_checked(cases):
    """Return {name of a case: a Report} as the checks would, with nothing checked."""
    return {case.name: Report(case.name, (ArgumentReport("x", "x", (2, 3), 6),)) for case in cases}


def not_tried(named, *_, **__):
    return Certificate(named.name, "cannot tell", "it was not tried")


def write_unchecked(folder):
    """Write the whole book, but that nothing is checked for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "read_derivations", lambda path, _: derivations(path.relative_to(PACKAGE).as_posix()))
        patch.setattr(writing, "checked", not_checked)
        patch.setattr(writing, "planted_mistakes", lambda path, cases: [])
        patch.setattr(appendix, "certified", not_tried)
        patch.setattr(Identity, "decide", not_tried)
        return writing.write_book(folder, names_by_file())
