"""Print the progress of an audit, and report the score and the survivors."""

import json
import os
import time
from collections import Counter
from pathlib import Path

from gradcheck.audit.trials import EQUIVALENT, KILLED, SURVIVING
from gradcheck.command_line import say

EVERY = 10.0  # seconds between lines of progress


class Progress:
    """Prints the progress to stderr, at most every ten seconds."""

    def __init__(self):
        self.last = time.monotonic()

    def say(self, text):
        if time.monotonic() - self.last >= EVERY:
            self.last = time.monotonic()
            say(text)

    def follow(self, what, outcomes, total):
        """Convert an iterator of `total` Outcomes to a list, and show the progress."""
        start, found = time.monotonic(), []
        for outcome in outcomes:
            found.append(outcome)
            left = int((time.monotonic() - start) / len(found) * (total - len(found)))
            self.say(f"{what}: {len(found):,} of {total:,}, {left // 60}:{left % 60:02d} left")
        return found


def summary(tried, footer):
    """Return the report on (Mutant, Outcome) pairs, followed by `footer`."""
    counts = {}
    for mutant, outcome in tried:
        counts.setdefault(shown(mutant.path), Counter())[outcome.status] += 1
    if len(counts) > 1:
        counts["all"] = sum(counts.values(), Counter())
    width = max(map(len, ["file", *counts]))
    lines = [f"{'file':<{width}}  mutants  killed  equivalent  surviving    score"]
    for name, count in counts.items():
        lines.append(
            f"{name:<{width}}  {count.total():>7,}  {count[KILLED]:>6,}  {count[EQUIVALENT]:>10,}  "
            f"{count[SURVIVING]:>9,}  {score(count):>7}"
        )
    lines.append("")
    by = Counter(outcome.by for _, outcome in tried if outcome.status == KILLED)
    if by:
        lines.append("Killed by " + ", ".join(f"{cause}: {n:,}" for cause, n in by.most_common()) + ".")
    survivors = [pair for pair in tried if pair[1].status == SURVIVING]
    for mutant, outcome in survivors:
        lines += ["", *describe(mutant), f"  {outcome.message}"]
    return "\n".join([*lines, *([""] if survivors else []), footer])


def score(count):
    """Return the mutation score, killed / (killed + surviving), rounded down so that 100 % means no survivor."""
    possible = count[KILLED] + count[SURVIVING]
    return f"{1000 * count[KILLED] // possible / 10:.1f} %" if possible else "-"


def describe(mutant):
    """Return a mutant's location, removed lines and added lines, as lines of text."""
    removed, added = mutant.difference()
    return [
        f"{shown(mutant.path)}:{mutant.line}: {mutant.function}: {mutant.kind}",
        *(f"  - {line}" for line in removed),
        *(f"  + {line}" for line in added),
    ]


def shown(path):
    """Return a path as text, relative to the current folder if it is in that folder."""
    here = os.path.realpath(os.getcwd())
    return os.path.relpath(path, here) if os.path.realpath(path).startswith(here + os.sep) else str(path)


def write_json(file, target, command, tried):
    count = Counter(outcome.status for _, outcome in tried)
    data = {
        "target": target,
        "command": command,
        "mutants": len(tried),
        **{status: count[status] for status in (KILLED, EQUIVALENT, SURVIVING)},
        "results": [_result(mutant, outcome) for mutant, outcome in tried],
    }
    Path(file).write_text(f"{json.dumps(data, indent=1, ensure_ascii=False)}\n", "utf-8", "backslashreplace")


def _result(mutant, outcome):
    removed, added = mutant.difference()
    of_mutant = {"file": shown(mutant.path), "line": mutant.line, "function": mutant.function, "kind": mutant.kind}
    names = ("status", "by", "case", "seed", "message", "differs_in")
    return {**of_mutant, "removed": removed, "added": added, **{name: getattr(outcome, name) for name in names}}
