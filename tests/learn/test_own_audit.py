"""Each exercise against the mutants of its own answer: all are refused, except those that change no result."""

import random
import signal
from collections import Counter
from itertools import islice

import pytest
from sampling import THOROUGH
from solutions import backwards

from gradcheck.audit.mutations import mutate
from minitransformer.learn.cutting import File, cut, only_the_question
from minitransformer.learn.exercises import EXERCISES
from minitransformer.learn.grading_server import grade

MOST = 10_000 if THOROUGH else 4  # mutants of each exercise
COMPOSED = ("multi_head_attention", "block", "whole_model", "one_page", "training_step")  # a verdict takes seconds
# The number of mutants that are accepted, and why they are equivalent to the answer.
EQUIVALENT = {
    "expression": (6, "du, dc and ds are one value"),
    "neuron": (1, "db and dz are one value"),
    "checker": (7, "another seed or sign of dy; a reversed difference within abs; checks that follow another check"),
    "attend": (2, "a list that is read entry by entry in place of an array"),
    "linear": (1, "axis −2 of a matrix in place of axis 0"),
    "embedding": (2, "zeros with another sign"),
    "chosen": (5, "p, z and e have the same order, and the same ratios; the kept tokens are the first of all"),
    "clipping": (4, "a factor of 1 is applied; the parameters are a list already"),
    "cosine_schedule": (5, "cosine is even, and both formulas agree at the ends"),
    "cross_entropy": (1, "the gradient of the losses is broadcast later"),
    "low_rank": (1, "s is the scale"),
    "training_step": (2, "zip of sequences of one length"),
    "one_page": (7, "axis −2 of a matrix in place of axis 0, and the last axis in place of axis 3"),
}


def mutants_of(exercise):
    """Yield (changed line, text) for each mutant of the answer, as a file of the exercise, in a random order."""
    header = cut(exercise, 1).partition('"""\n')[0] + '"""\n'
    source, names = exercise.source.read_text("utf-8"), {function.name for function in backwards(exercise)}
    right, seen = taken(source, exercise), set()
    mutants = list(mutate(exercise.source, tuple(names)))
    random.Random(exercise.name).shuffle(mutants)
    for mutant in mutants:
        code = taken(mutant.mutated_source, exercise)
        if code != right and code not in seen:
            seen.add(code)
            yield " ".join(mutant.difference()[1]), header + code


def taken(source, exercise):
    return "\n".join(File(only_the_question(source, exercise)).taken(exercise, None)) + "\n"


def verdict_on(path, exercise):
    """Return the first verdict, without points, because only the status is needed."""
    found = grade(path, exercise.name)
    try:
        return next(found)
    finally:
        found.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES])
def test_every_mutant_of_an_answer_is_refused_or_equivalent(exercise, tmp_path, monkeypatch):
    monkeypatch.setattr("minitransformer.learn.grading_server.Trying.credits", lambda self, verdict: {})
    monkeypatch.syspath_prepend(tmp_path)

    def late(*arguments):
        raise TimeoutError("a mutant does not end")

    path, found = tmp_path / f"{exercise.name}.py", Counter()
    most = MOST // 4 if exercise.name in COMPOSED and not THOROUGH else MOST
    before = signal.signal(signal.SIGALRM, late)
    try:
        for line, text in islice(mutants_of(exercise), most):
            path.write_text(text, "utf-8")
            signal.setitimer(signal.ITIMER_REAL, 20)
            found[line] += verdict_on(path, exercise).is_solved
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
    accepted = [line for line, is_solved in found.items() if is_solved]
    assert len(accepted) <= EQUIVALENT.get(exercise.name, (0, ""))[0], accepted
