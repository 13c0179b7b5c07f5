"""Functions that print the demonstration: paragraphs, quotations, bars, and references to files."""

import sys
import textwrap
from pathlib import Path

from gradcheck.front.streams import show
from gradcheck.front.tables import table
from minitransformer.training import ProgressBar

WIDTH, BAR = 96, 40  # characters of a line and of the longest bar


def paragraph(text: str) -> None:
    show(textwrap.fill(text, WIDTH, break_on_hyphens=False) + "\n")


def heading(text: str) -> None:
    show(f"\n{text}\n{'=' * len(text)}\n")


def see(picture: Path | None, content_shown: str, *sources: tuple[str, str]) -> None:
    """Print references to a picture, if it was drawn, and to source files, given as pairs (file, contents)."""
    if picture is not None:
        show(f"  Look at {picture}: {content_shown}.")
    show("  Read")
    show("\n".join(table([(f"minitransformer/{file}", content) for file, content in sources], "<", indent=4)))


def printable(text: str) -> str:
    """Replace control characters, which an untrained model writes too."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def quoted(text: str, most_lines: int = 8) -> str:
    """Return the beginning of a text as an indented quotation."""
    width = WIDTH - 6
    lines = [line[i : i + width] for line in printable(text).split("\n") for i in range(0, max(len(line), 1), width)]
    return "\n".join(f"    │ {line}".rstrip() for line in lines[:most_lines])


def bar(fraction: float) -> str:
    return "█" * round(BAR * min(max(fraction, 0), 1))


def watcher(highest_loss: float = 1.0) -> ProgressBar:
    """Return a progress bar that also prints losses and accuracies as bars.

    A loss of `highest_loss` has the longest bar.
    """

    def evaluation(record, training_loss):
        if "val_loss" in record:
            loss = record["val_loss"]
            return f"  step {record['step']:>4}   loss {loss:.2f}  {bar(loss / highest_loss)}"
        if "accuracy" in record:
            (right,) = record["accuracy"].values()
            return f"  step {record['step']:>4}   loss {record['loss']:.2f}   right {right:>4.0%}  {bar(right)}"
        return ""

    def written(step, text):
        return f"\n  It writes, after {step} steps:\n{quoted(text)}\n"

    return ProgressBar(evaluation=evaluation, written=written, file=sys.stdout)
