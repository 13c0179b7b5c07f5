"""Grading: an exercise's file, run as a module of its own, and its gradients held against its own forward pass.

What is graded is what the file defines. The package's function of that name is asked for nothing in it, except, at
level 3, what y is. This runs in a process that is ended if it takes too long (see bounded.py).
"""

import ast
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from minitransformer.bounded import serve
from minitransformer.learn.attempt import Attempt
from minitransformer.learn.cutting import cut
from minitransformer.learn.equations import blank_rows
from minitransformer.learn.loading import Fault, Printed, faults, loaded, restored
from minitransformer.learn.refusing import (
    Refusal,
    blanks,
    is_untouched,
    level_of,
    parsed,
    read_while_blank,
    refuse_other_tasks,
)
from minitransformer.learn.updates import graded_update
from minitransformer.learn.verdict import BEGUN, FAILED, MISSING, REFUSED, UNTOUCHED, Verdict
from minitransformer.learn.workspace import exercise_in
from minitransformer.system.terminal import error_in_words
from minitransformer.version import __version__


def grade(path, name: str) -> Verdict:
    """Return the Verdict on an exercise's file."""
    path = Path(path)
    exercise = exercise_in(path.parent, name)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return Verdict(name, MISSING, sentence=f"{path.name} is not there: `minitransformer learn start` adds it")
    except (OSError, UnicodeDecodeError) as error:
        return Verdict(name, FAILED, sentence=f"{path.name} cannot be read: {error_in_words(error)}")
    try:
        tree = parsed(text, path.name)
    except Refusal as refusal:
        return Verdict(name, FAILED, sentence=str(refusal))
    level, version = level_of(tree)
    if not exercise.given and (level is None or version != __version__):
        level = 3
    given = ast.parse(cut(exercise, level))
    if is_untouched(tree, given):
        return Verdict(name, UNTOUCHED, level)
    try:
        refuse_other_tasks(exercise, tree, given, level)
    except Refusal as refusal:
        return Verdict(name, REFUSED, level, str(refusal))
    return tried(exercise, path, text, tree, level)


def tried(exercise, path, text, tree, level) -> Verdict:
    """Return the Verdict on what a file computes, with what it prints in one run."""
    printed, left = Printed(), blanks(tree)
    try:
        with restored(path), faults(path):
            with printed:
                target = getattr(loaded(path, text), exercise.target)
                attempt = None if exercise.is_update else Attempt(exercise, path, target, level, left)
                verdict = attempt.run_once() if attempt else graded_update(exercise, target, level, left)
            verdict = attempt.verdict() if attempt else verdict
    except Fault as fault:
        blank, status = read_while_blank(tree, fault.line, left), BEGUN if left else FAILED
        sentence = f"line {fault.line} reads {blank}, which is still blank" if blank else str(fault)
        if fault.line in dict(left):
            sentence = f"line {fault.line} is still blank"
        verdict = Verdict(exercise.name, status, level, sentence, blank_rows(exercise, left))
    return replace(verdict, printed=printed.text)


def slopes(path, name: str) -> dict:
    """Return {"x", "yours", "true"}, lists: the slopes of a function that works entry by entry. Raises Fault.

    The true ones are measured by central differences of its own forward pass.
    """
    path, exercise = Path(path), exercise_in(Path(path).parent, name)
    x = np.linspace(-4, 4, 401)
    h = 1e-5
    with restored(path), faults(path):
        function = getattr(loaded(path, path.read_text("utf-8")), exercise.target)
        yours = np.broadcast_to(np.asarray(function(x)[1](np.ones_like(x)), np.float64), x.shape)
        true = (function(x + h)[0] - function(x - h)[0]) / (2 * h)
    return {"x": x.tolist(), "yours": yours.tolist(), "true": true.tolist()}


def answer(request):
    """Answer a request of bounded.py: {"file": …, "name": …}, and "slopes", true, if these are asked for."""
    try:
        if request.get("slopes"):
            return slopes(request["file"], request["name"])
        return grade(request["file"], request["name"]).to_json()
    except Fault as fault:
        return {"fault": str(fault)}
    except MemoryError:
        return Verdict(request["name"], FAILED, sentence="it asks for more memory than there is").to_json()


if __name__ == "__main__":
    sys.dont_write_bytecode = True  # a learner's folder holds what a learner wrote
    serve(answer)
