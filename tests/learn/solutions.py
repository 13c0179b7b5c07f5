"""Files of exercises as students hand them in: the solution, one of its blanks filled, one of its lines edited."""

import ast
import re
import textwrap
from functools import cache

from minitransformer.learn.cutting import File, cut, functions_within, only_the_question, statements_of
from minitransformer.learn.exercises import named_exercise


@cache
def solution(exercise, level):
    """Return the text of a file in which nothing is left out, whose header says that it is of that level."""
    header = cut(exercise, level).partition('"""\n')[0] + '"""\n'
    source = only_the_question(exercise.source.read_text("utf-8"), exercise)
    return header + "\n".join(File(source).taken(exercise, None)) + "\n"


def backwards(exercise):
    """Yield the functions of a solution that are numbered backward passes; of AdamW the update."""
    text = solution(exercise, 1)
    for function in functions_within(ast.parse(text)):
        is_numbered = re.search(r"# \(\d", ast.get_source_segment(text, function)) is not None
        if function.name == exercise.target if exercise.is_value else function.name == "backward" and is_numbered:
            yield function


@cache
def right_hand_sides(exercise):
    """Return the code of each answer: the right-hand sides in the backward passes."""
    found = set()
    for function in backwards(exercise):
        for statement in statements_of(function):
            if isinstance(statement, ast.Assign) and not isinstance(statement.value, (ast.Name, ast.Constant)):
                found.add(ast.unparse(statement.value))
    return found


def blank_filled(text, body):
    """Return a text with the first body that is left out written."""
    return re.sub(r"^ +\.\.\.$", lambda _: body.strip("\n").rstrip(), text, count=1, flags=re.MULTILINE)


@cache
def filled(body, name="softmax", level=1):
    """Return the file of an exercise whose backward has this body."""
    text = cut(named_exercise(name), level)
    indent = re.search(r"^( +)\.\.\.$", text, re.MULTILINE)[1]
    return blank_filled(text, textwrap.indent(textwrap.dedent(body), indent))


def edited(name, level, *pairs, make=solution):
    """Return the solution of an exercise, or the result of `make`, with each (old, new) replaced."""
    text = make(named_exercise(name), level)
    for old, new in pairs:
        assert old in text, (name, old)
        text = text.replace(old, new)
    return text


# An exercise of a teacher's own.

TOML = """
name = "double"
title = "twice"
source = "double.py"
function = "double"

[[cases]]
name = "double"
inputs = {x = [2, 3]}
options = {by = 3.0}
"""
OWN = '''
def double(x, *, by=2.0):
    """y = by · x (1)."""
    y = by * x  # (1)

    def backward(dy):
        dx = by * dy  # (2)
        return dx

    return y, backward
'''
