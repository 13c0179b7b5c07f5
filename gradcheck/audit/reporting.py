"""Print the progress of an audit, the mutation score and the surviving mutants."""

import json
import os
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from gradcheck.audit.trials import BY_CERTIFICATE, EQUIVALENT, KILLED, SURVIVING
from gradcheck.front.streams import counted, say
from gradcheck.front.tables import table

EVERY = 10.0  # seconds between lines of progress


def with_progress(outcomes, total):
    """Convert an iterator of outcomes to a list, and print the progress."""
    found, start, last = [], time.monotonic(), time.monotonic()
    for outcome in outcomes:
        found.append(outcome)
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            left = int((last - start) / len(found) * (total - len(found)))
            say(f"trying mutants: {len(found):,} of {total:,}, {left // 60}:{left % 60:02d} left")
    return found


def summary(tried, judge, seconds):
    """Return a table of the files, the surviving mutants and the score, as text."""
    counts = {}
    for mutant, outcome in tried:
        counts.setdefault(displayed_path(mutant.path), Counter())[outcome.status] += 1
    whole = sum(counts.values(), Counter())
    if len(counts) > 1:
        counts["all"] = whole
    statuses = (KILLED, EQUIVALENT, SURVIVING)
    rows = [("file", "mutants", *statuses, "score")]
    for name, count in counts.items():
        rows.append((name, f"{count.total():,}", *(f"{count[status]:,}" for status in statuses), score(count)))
    lines = table(rows, "<>", indent=0)
    by = Counter(outcome.by for _, outcome in tried)
    causes = [f"{cause}: {n:,}" for cause, n in by.most_common() if cause not in ("", BY_CERTIFICATE)]
    lines += ["", f"Killed by {', '.join(causes)}."] if causes else []
    for mutant, outcome in tried:
        if outcome.status == SURVIVING:
            lines += ["", *describe(mutant), f"  {outcome.message}"]
    functions = len({(mutant.path, mutant.function) for mutant, _ in tried})
    lines += [
        "",
        f"{counted(len(tried), 'mutant')} of {counted(functions, 'function')}, judged by {judge}: "
        f"{whole[KILLED]:,} killed, {whole[EQUIVALENT]:,} equivalent ({by[BY_CERTIFICATE]:,} certified), "
        f"{whole[SURVIVING]:,} surviving; score {score(whole)}, "
        f"in {seconds:.0f} s ({sum(os.times()[:4]):.0f} s of CPU)",
    ]
    return "\n".join(lines)


def score(count):
    """Return the mutation score, killed / (killed + surviving), rounded down."""
    possible = count[KILLED] + count[SURVIVING]
    return f"{1000 * count[KILLED] // possible / 10:.1f} %" if possible else "-"


def describe(mutant):
    """Return the location and the changed lines of a mutant, as lines of text."""
    removed, added = mutant.difference()
    return [
        f"{displayed_path(mutant.path)}:{mutant.line}: {mutant.function}: {mutant.kind}",
        *(f"  - {line}" for line in removed),
        *(f"  + {line}" for line in added),
    ]


def displayed_path(path):
    here = os.path.realpath(os.getcwd())
    return os.path.relpath(path, here) if os.path.realpath(path).startswith(here + os.sep) else str(path)


def write_json(file, target, command, tried, possible):
    count = Counter(outcome.status for _, outcome in tried)
    results = []
    for mutant, outcome in tried:
        removed, added = mutant.difference()
        place = {
            "file": displayed_path(mutant.path),
            "line": mutant.line,
            "function": mutant.function,
            "kind": mutant.kind,
        }
        results.append({**place, "removed": removed, "added": added, **asdict(outcome)})
    counts = {status: count[status] for status in (KILLED, EQUIVALENT, SURVIVING)}
    numbers = {"possible": possible, "mutants": len(tried), **counts}
    data = {"target": target, "command": command, **numbers, "results": results}
    Path(file).write_text(f"{json.dumps(data, indent=1, ensure_ascii=False)}\n", "utf-8", "backslashreplace")
