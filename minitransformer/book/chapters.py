"""Read contents.md: the book's pages in reading order, its terms and its papers."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CONTENTS_FILE = Path(__file__).with_name("contents.md")
FORMULA = "Formula: "


@dataclass(frozen=True)
class Leaf:
    title: str
    file: str  # source file of a chapter, or the name of another page
    exhibits: tuple  # names of the museum's exhibits that the page shows
    question: str  # question that a chapter answers; "" for other pages
    formula: str  # the chapter in one equation, or ""
    about: str  # purpose of the page

    @property
    def path(self) -> Path:
        return PACKAGE / self.file

    @property
    def page(self) -> str:
        return self.path.stem


def read(contents: str) -> Iterator[Leaf]:
    """Yield a Leaf for each section of contents.md.

    A section has the heading `## title | file | exhibit …`, the question (only for chapters), the formula
    (only for some), and the purpose.
    """
    for entry in re.split("^## ", contents, flags=re.MULTILINE)[1:]:
        head, *paragraphs = (" ".join(part.split()) for part in entry.strip().split("\n\n"))
        title, file, *exhibits = head.split(" | ")
        question = paragraphs.pop(0) if file.endswith(".py") else ""
        formula = paragraphs.pop(0).removeprefix(FORMULA) if paragraphs[0].startswith(FORMULA) else ""
        yield Leaf(title, file, tuple(exhibits), question, formula, " ".join(paragraphs))


CONTENTS, *LISTS = re.split("^# ", CONTENTS_FILE.read_text("utf-8").removeprefix("# "), flags=re.MULTILINE)
QUESTIONS, ROUTES, TERMS, PAPERS = (dict(re.findall("^- (.*?): (.*)$", text, flags=re.MULTILINE)) for text in LISTS)
LEAVES = tuple(read(CONTENTS))
CHAPTERS = tuple(leaf for leaf in LEAVES if leaf.file.endswith(".py"))
(BELIEFS,) = (leaf.title for leaf in LEAVES if leaf.page == "misconceptions")
