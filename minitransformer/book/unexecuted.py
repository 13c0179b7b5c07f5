"""Read unexecuted.md, the list of equations that are not executed, with reasons."""

import re
from pathlib import Path

from minitransformer.book.chapters import PACKAGE

ASSUMED = "it is an assumption of its sentence"


def read(text: str) -> dict:
    found = {}
    for section in re.split("^## ", text, flags=re.MULTILINE)[1:]:
        file, *lines = section.strip().split("\n")
        reasons = (line.removeprefix("- ").partition(": ") for line in lines if line)
        found[file] = {equation: reason for reason, _, equations in reasons for equation in equations.split("; ")}
    return found


NOT_EXECUTED = read(Path(__file__).with_name("unexecuted.md").read_text("utf-8"))


def why_not_executed(path, line: str) -> str:
    """Return the reason in unexecuted.md for an equation, or ""."""
    path, package = Path(path).resolve(), PACKAGE.resolve()
    file = path.relative_to(package).as_posix() if path.is_relative_to(package) else ""
    return NOT_EXECUTED.get(file, {}).get(" ".join(line.split()), "")
