"""Plant mistakes in the code of a room, and list those that no quick test of the room notices.

    .venv/bin/python tests/campaigns/mutants.py analysis gradcheck/lines --count 20 --seed 1

A room is a folder of minitransformer/ or gradcheck/, or `textbook`, the files beside these folders. The audit plants
mistakes in backward passes; here they are planted in functions drawn at random, and comparisons, `and`, `or`, True and
False are exchanged as well. Each kind of mistake is drawn equally often.

First every test runs once, and the functions of the room that it calls are recorded. Each mutant is then planted in the
functions in memory, in a fork of this process. There the tests that have called its function run, the fastest first,
then the others, and then the rows that a plain run leaves out (`one_in`), until one fails. Code that runs only on
import or in another program is out of reach.

A survivor is either equivalent or a promise without a test. survivors.txt has the verdicts so far.
"""

import argparse
import ast
import contextlib
import functools
import gc
import itertools
import json
import os
import random
import re
import resource
import select
import signal
import sys
import time
from pathlib import Path

os.environ.update(CI="true", OPENBLAS_NUM_THREADS="1")  # the same examples in every run
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import pytest  # noqa: E402

VERDICTS = Path(__file__).with_name("survivors.txt")
EXCHANGED = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}
CPU_SECONDS = 120  # for the tests of one mutant


def files_and_tests(room):
    """Return the source files of a room, and the folders or files of its tests."""
    if room == "textbook":
        return [*(ROOT / "minitransformer").glob("*.py")], [*(ROOT / "tests").glob("test_*.py")]
    if room == "gradcheck":
        return [*(ROOT / room).glob("*.py")], [ROOT / "tests" / room]
    folder = ROOT / room if room.startswith("gradcheck/") else ROOT / "minitransformer" / room
    return [*folder.rglob("*.py")], [ROOT / "tests" / room.partition("/")[0]]


def functions_of(file):
    """Return the names of the functions of a file that are in no other function."""
    found, pending = [], [(ast.parse(file.read_text("utf-8")), "")]
    while pending:
        node, prefix = pending.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef):
                found.append(prefix + child.name)
            elif isinstance(child, ast.ClassDef):
                pending.append((child, f"{prefix}{child.name}."))
    return found


def mutants_of(file, name):
    """Yield (kind, line, description, text of the mutated file) for each mistake that can be made in a function."""
    from gradcheck.audit.mutations import mutate
    from gradcheck.mistakes.sources import find_closures, read_source

    for mutant in mutate(file, (name,)):
        before, after = (" ".join(" ".join(lines).split()) for lines in mutant.difference())
        yield mutant.kind, mutant.line, f"{before} → {after}", mutant.mutated_source
    text = read_source(file).encode()
    lines = text.splitlines(keepends=True)
    starts = list(itertools.accumulate(map(len, lines), initial=0))
    closure = next(found for found in find_closures(file, (name,)) if found.qualname == name)
    for node in itertools.chain.from_iterable(map(ast.walk, closure.node.body)):
        if isinstance(node, ast.Compare | ast.BoolOp):
            left, right, *_ = (node.left, *node.comparators) if isinstance(node, ast.Compare) else node.values
            old, new = EXCHANGED[type(node.ops[0] if isinstance(node, ast.Compare) else node.op)]
            start, end = (left.end_lineno, left.end_col_offset), (right.lineno, right.col_offset)
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            old, new = str(node.value), str(not node.value)
            start, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
        else:
            continue
        a, b = (starts[line - 1] + column for line, column in (start, end))
        edited = text[:a] + text[a:b].replace(old.encode(), new.encode(), 1) + text[b:]
        line = lines[start[0] - 1].decode().strip()
        yield f"{old} exchanged", start[0], f"{line} ({old} → {new})", edited.decode()


def drawn(files, count, rng):
    """Draw mutants, each kind equally often, as (file, line, description, text of the mutated file)."""
    functions = [(file, name) for file in sorted(files) for name in functions_of(file)]
    by_kind = {}
    for file, name in rng.sample(functions, min(2 * count, len(functions))):
        for kind, *mutant in mutants_of(file, name):
            by_kind.setdefault(kind, {})[file, *mutant] = None
    kinds = [rng.sample(list(mutants), len(mutants)) for _, mutants in sorted(by_kind.items())]
    rng.shuffle(kinds)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*kinds))
    return list(itertools.islice(filter(None, turns), count))


class Campaign:
    """A plugin of pytest that runs the collected tests on mutants."""

    def __init__(self, files, count, seed):
        self.files, self.count, self.seed, self.outcomes = files, count, seed, []
        self.names = {str(file) for file in files}

    @pytest.hookimpl
    def pytest_runtestloop(self, session):
        if session.testsfailed or not session.items:
            raise session.Failed("the tests cannot be collected")
        shown = session.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled
        calls = in_a_fork(lambda send: self.record(session, send), 10 * CPU_SECONDS)
        if failed := [name for name, *_ in calls if name]:
            raise session.Failed(f"{failed[0]} fails without a mutant")
        for mutant in drawn(self.files, self.count, random.Random(self.seed)):
            answers = in_a_fork(lambda send, mutant=mutant: self.attempt(session, mutant, calls, send), CPU_SECONDS)
            outcome = answers[-1] if answers and isinstance(answers[-1], str) else "killed by a crash or a limit"
            self.outcomes.append((described(mutant), outcome))
            with shown():
                print(f"{outcome[:60]:<60} {described(mutant)}", flush=True)
        return True

    def record(self, session, send):
        """Run every quick test, and send [name if it has failed, seconds, functions of the room that it has called]."""
        from gradcheck.mistakes.planter import key_of

        quick = [item for item in session.items if not item.get_closest_marker("slow")]
        for item, following in itertools.zip_longest(quick, quick[1:]):
            called, began = set(), time.process_time()
            sys.setprofile(lambda frame, event, _, called=called: event == "call" and called.add(frame.f_code))
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            sys.setprofile(None)
            keys = [[code.co_filename, *key_of(code)] for code in called if code.co_filename in self.names]
            send(["", time.process_time() - began, keys])
            if session.testsfailed:
                send([item.nodeid, 0, []])
                return

    def attempt(self, session, mutant, calls, send):
        """Plant a mutant, run the tests, and send the name of the one that fails."""
        from gradcheck.audit.trials import live_functions
        from gradcheck.mistakes.planter import codes_of, key_of
        from gradcheck.mistakes.sources import read_source

        file, line, _, text = mutant
        before, after = codes_of(read_source(file), str(file)), codes_of(text, str(file))
        around = [key for key, code in before.items() if key[0] <= line <= max(at for *_, at in code.co_lines() if at)]
        key = max(around)  # the innermost function
        changed = 0
        for function in live_functions({str(file)})[str(file)]:
            new = after.get(key_of(function.__code__))
            if new is not None and len(new.co_freevars) == len(function.__code__.co_freevars):
                function.__code__ = new
                changed += 1
        if not changed:
            send("not planted")
            return
        for cached in [thing for thing in gc.get_objects() if type(thing) is functools._lru_cache_wrapper]:
            cached.cache_clear()  # of values that the code before has computed
        rows = [item for item in session.items if item.get_closest_marker("slow")]
        quick = [item for item in session.items if item not in rows]
        reaches = [(not any([str(file), *key] == one for one in keys), seconds) for _, seconds, keys in calls]
        items = [item for _, item in sorted(zip(reaches, quick, strict=True), key=lambda pair: pair[0])] + rows
        for item, following in itertools.zip_longest(items, items[1:]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                verb = "survives, but is killed by the slow row" if item in rows else "killed by"
                send(f"{verb} {item.nodeid.removeprefix('tests/')}")
                return
        send(
            "survives"
            if any(not unreached for unreached, _ in reaches)
            else "survives, since no test of the room calls it"
        )


def in_a_fork(work, seconds=None, shows=False):
    """Run work(send) in a fork of this process, and return what it has sent. Limits its seconds of CPU time."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            if seconds is not None:
                resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in () if shows else (0, 1, 2):
                os.dup2(nothing, stream)
            work(lambda answer: os.write(writing, json.dumps(answer).encode() + b"\n"))
        finally:
            os._exit(0)
    os.close(writing)
    answers, end = b"", time.monotonic() + 20 * (seconds or 86_400)  # a busy machine
    while (left := end - time.monotonic()) > 0 and select.select([reading], [], [], left)[0]:
        if not (chunk := os.read(reading, 1 << 16)):
            break
        answers += chunk
    os.close(reading)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # and what it has started
    os.waitpid(child, 0)
    return [json.loads(line) for line in answers.splitlines(keepends=True) if line.endswith(b"\n")]


def described(mutant):
    file, line, words, _ = mutant
    return f"{file.relative_to(ROOT)}:{line}: {words}"


def verdicts():
    """Return {description without its line number: verdict} of survivors.txt."""
    rows = [row for row in VERDICTS.read_text("utf-8").split("\n\n") if not row.startswith("#")]
    return {unnumbered(mutant): verdict for mutant, verdict in (row.strip().split("\n    ") for row in rows)}


def unnumbered(mutant):
    return re.sub(r":\d+:", ":", mutant, count=1)


def campaign(room, arguments, send):
    """Run the campaign of a room, in a process of its own, since pytest imports the tests."""
    files, tests = files_and_tests(room)
    plugin = Campaign(files, arguments.count, arguments.seed)
    pytest.main(
        [*map(str, tests), "-q", "-m", "not slow or one_in", "-p", "no:xdist", "-p", "no:cacheprovider"],
        plugins=[plugin],
    )
    for outcome in plugin.outcomes:
        send(outcome)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="+", metavar="ROOM")
    parser.add_argument("--count", type=int, default=20, help="number of mutants for each room (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="another seed draws other mutants (default: 1)")
    arguments = parser.parse_args()
    known, missing = verdicts(), 0
    for room in arguments.rooms:
        outcomes = in_a_fork(lambda send, room=room: campaign(room, arguments, send), shows=True)
        survivors = [mutant for mutant, outcome in outcomes if outcome.startswith("survives")]
        killed = sum(outcome.startswith("killed") for _, outcome in outcomes)
        without = [mutant for mutant in survivors if unnumbered(mutant) not in known]
        print(f"{room}: {killed} killed, {len(survivors) - len(without)} with a verdict, {len(without)} without:")
        for mutant in without:
            print(f"    {mutant}")
        missing += len(without)
    return missing > 0


if __name__ == "__main__":
    sys.exit(main())
