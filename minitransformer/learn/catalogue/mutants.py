"""What the catalogue does not list: the audit's mistakes, made one at a time in the textbook's own backward.

Each is made by a program, so that its sentence can say only of which kind it is and where: "(7) dx: the numbers are as
if a factor were missing".
"""

import ast
import functools
import inspect
import math
import re
import textwrap
from pathlib import Path

from gradcheck.audit.mutations import mutate
from minitransformer.layers.activations import silu
from minitransformer.layers.attention import attention
from minitransformer.layers.feed_forward import swiglu
from minitransformer.layers.multi_head_attention import MultiHeadAttention, projections
from minitransformer.layers.softmax import softmax
from minitransformer.learn.catalogue import other_ways
from minitransformer.learn.catalogue.textbook import source_of

INSIDE = {
    attention: softmax,
    swiglu: silu,
    MultiHeadAttention.forward: projections,
}  # what it calls, and a learner writes out
OPERATIONS = {ast.Add: "sum", ast.Sub: "difference", ast.Mult: "product", ast.Div: "quotient"}
WORDS = {
    "term dropped": "a term were missing",
    "factor dropped": "a factor were missing",
    "sign flipped": "a sign were flipped",
    "operator exchanged": "one of + − · / stood in place of another",
    "operands exchanged": "two operands were exchanged",
    "sum and mean exchanged": "a sum stood in place of a mean, or a mean in place of a sum",
    "axis changed": "a sum or mean ran over the wrong axis",
    "keepdims lost": "an axis were lost that should be kept, and other entries met",
    "transpose lost": "a transpose were missing",
    "transpose added": "there were a transpose too many",
    "name replaced": "one array stood in place of another",
    "constant changed": "a constant were wrong",
    "gradient replaced by zeros": "it were zero",
    "gradient replaced by dy": "it were dy itself",
    "dy ignored": "dy were ones",
    "gradients exchanged": "two gradients were exchanged",
    "mask forgotten": "a mask were forgotten",
    "condition changed": "a condition were wrong",
    "accumulation lost": "entries were overwritten, not added",
    "statement dropped": "a statement were missing",
    "backward call dropped": "the backward of a layer were skipped",
    "call dropped": "a function were not applied",
    "order reversed": "an order were reversed",
    "power changed": "a power were missing",
}


def mutants_of(function):
    """Yield (sentence, how to run the textbook with it) for each mutant of a function, and of what it calls."""
    for sentence, code in compiled_mutants(function):
        yield sentence, {"code": code}
    other_way = getattr(other_ways, function.__name__, None)
    for sentence, code in compiled_mutants(other_way) if other_way is not None else ():
        yield sentence, {"code": code, "scope": {"math": math}}
    inner = INSIDE.get(function)
    for sentence, code in compiled_mutants(inner) if inner is not None else ():
        names = dict(inner.__globals__)
        exec(code, names)
        yield f"{inner.__name__}'s {sentence}", {"scope": {inner.__name__: names[inner.__name__]}}


@functools.cache
def compiled_mutants(function):
    """Return (sentence, code of the function's def) for each mutant of its backward: of all of it, if it has none."""
    text, first = source_of(function)
    backward = f"{function.__qualname__}.<locals>.backward"
    pattern = backward if "def backward" in text else function.__qualname__
    length, found = text.count("\n"), []
    for mutant in mutate(Path(inspect.getsourcefile(function)), (pattern,)):
        lines = mutant.mutated_source.splitlines(keepends=True)[first - 1 : first - 1 + length]
        try:
            code = compile(textwrap.dedent("".join(lines)), f"<{function.__name__}>", "exec")
        except SyntaxError:
            continue
        found.append((sentence_of(mutant), code))
    return found


def sentence_of(mutant):
    """Return what a mutant does, in words."""
    lines = mutant.source.splitlines()
    statement = re.match(r" *([\w, ]+?) = ", lines[mutant.lines[0] - 1])
    number = re.search(r"# (\(\d+\))", lines[mutant.lines[0] - 1])
    if number is None and statement:
        later = re.search(r"# (\(\d+\))", "\n".join(lines[mutant.lines[0] :]))
        number = later and f"on the way to {later[1]}, "
    if number is None and statement:
        return f"in {statement[1]}: the numbers are as if {in_words(mutant)}"
    place = f"{number if isinstance(number, str) else number[1] + ' '}{statement[1]}: " if statement and number else ""
    return f"{place}the numbers are as if {in_words(mutant)}"


def in_words(mutant):
    """Return the kind of a mutant in words, with the name of what is missing or stands in a wrong place."""
    removed = mutant.source[mutant.start : mutant.end]
    if mutant.kind == "name replaced" and mutant.replacement.isidentifier():
        return f"{mutant.replacement} stood in place of another array"
    if mutant.kind in ("term dropped", "factor dropped"):
        for name in missing(removed, mutant.replacement):
            return f"the {mutant.kind.split()[0]} {name} were missing"
    before, after = operation(removed), operation(mutant.replacement)
    if mutant.kind == "operator exchanged" and before and after:
        return f"a {before} were a {after}"
    return WORDS[mutant.kind]


def operation(text):
    """Return what an expression is, a sum for one; or None."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        return None
    return OPERATIONS.get(type(tree.op)) if isinstance(tree, ast.BinOp) else None


def missing(removed, replacement):
    """Yield the name of the operand that is lost, if it is one."""
    try:
        tree, left = ast.parse(removed.strip("() "), mode="eval").body, ast.unparse(ast.parse(replacement, mode="eval"))
    except SyntaxError:
        return
    if isinstance(tree, ast.BinOp):
        for kept, lost in ((tree.left, tree.right), (tree.right, tree.left)):
            if ast.unparse(kept) == left and isinstance(lost, ast.Name):
                yield lost.id
