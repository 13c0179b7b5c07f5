"""A mutant: one mistake in one place of a source file, stored as an edit of its text."""

import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from gradcheck.mistakes.row import Edit


@dataclass(frozen=True)
class Mutant:
    """A source file with one mistake: characters `start` to `end` of the file at `path` become `replacement`.

    `source` is the text of the file, read before anything ran, since the file may be edited meanwhile. `function` and
    `kind` name the mutated function and the kind of mistake. `codes` lists (first line, name) of each code object that
    the mutant changes, outermost first. `lines` holds the first and last line of the mutated statement; a case that
    runs none of them is not affected. `edit` holds the old and the new node of the syntax tree. `is_whole` is True if
    the edit replaces the whole value of an assignment, or of a returned gradient.
    """

    path: Path
    source: str = field(repr=False)
    function: str
    codes: tuple
    kind: str
    line: int
    lines: tuple
    start: int
    end: int
    replacement: str
    edit: Edit = field(repr=False)
    is_whole: bool = False

    @property
    def mutated_source(self):
        """Return the text of the file with the mistake. Later statements keep their line numbers."""
        lost = self.source.count("\n", self.start, self.end) - self.replacement.count("\n")
        last = max(self.lines[1], self.source.count("\n", 0, self.end) + 1)  # last line of the statement
        below = sum(map(len, self.source.splitlines(keepends=True)[:last]))
        rest = self.source[self.end : below]
        return self.source[: self.start] + self.replacement + rest + "\n" * lost + self.source[below:]

    def difference(self):
        """Return (removed lines, added lines), dedented."""
        source = self.source
        first = source.rfind("\n", 0, self.start) + 1
        last = source.find("\n", self.end)
        last = len(source) if last < 0 else last
        before, after = source[first:last], source[first : self.start] + self.replacement + source[self.end : last]
        both = textwrap.dedent(f"{before}\n{after}").splitlines()
        n = len(before.splitlines())
        return both[:n], both[n:]
