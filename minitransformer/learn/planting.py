"""Write exercises in which a complete backward pass has one mistake to be found.

The seed selects the mistake from gradcheck/mistakes or the museum. Mistakes are excluded if they change no gradient on
any case, or raise an exception. The header contains a digest of the answer, so that a check needs no other file.
"""

import ast
import builtins
import hashlib
import random
import re
import symtable
import tempfile
import textwrap
from functools import cache
from pathlib import Path

from gradcheck.audit import mutate
from gradcheck.museum import CASES
from minitransformer.learn.cutting import File, globals_read, only_the_question, target_of, title
from minitransformer.learn.exercises import FORWARD
from minitransformer.learn.hints import lines_of
from minitransformer.learn.own import ENDING, OwnExercise, graded_by
from minitransformer.learn.verdict import BEGUN, WRONG, Verdict

NAME = "WRONG_LINE"
IMPORTS, MUSEUM, MANY = "import math\n\nimport numpy as np\n\n\n", Path("museum"), 5
TOO_EASY = {"statement dropped", "gradient replaced by zeros", "dy ignored"}
TASK = f"""\
One line of backward has a mistake. Repair it, and assign to {NAME} the name on its left, such as "dx", or the number of
its equation, such as "(5)", or that of the line. A check says which gradients are wrong.
"""
PAGE = "In each file in this folder, one line of backward has a mistake. Find, name and repair it, as the file says.\n"

mutants_of = cache(mutate)


def of_museum(seed: int) -> list[OwnExercise]:
    """Draw MANY functions of the museum, and return each as an exercise with a mistake in its backward pass."""
    found: dict = {}
    for case in random.Random(seed).sample(CASES, len(CASES)):
        function, wrong = case.function, [line for mark, line in case.lines if mark == "−"]
        code = "\n".join(line for mark, line in case.lines if mark != "+")
        code = IMPORTS + re.sub(rf"\b{function.__name__}\b", "layer", code) + "\n"  # the name may reveal it
        needed = {*globals_read(symtable.symtable(code, "", "exec"))} - {"np", "math", "layer", *dir(builtins)}
        has_shapes = all(isinstance(shape, tuple) for shape in case.inputs) and not case.options
        is_backward = all(line.startswith(" " * 8) for line in wrong)
        if (
            function in found
            or needed
            or not (has_shapes and is_backward)
            or case.examine(True, explain=False).is_right
        ):
            continue
        about = {
            "name": f"museum_{len(found) + 1}",
            "title": f"a wrong gradient{', '.join((' of others', *case.sources))}",
            "function": "layer",
            "cases": [{"name": "museum", "inputs": {f"x{k}": shape for k, shape in enumerate(case.inputs)}}],
            "answer": target_of(ast.parse(textwrap.dedent("\n".join(wrong))).body[0]) or "return",
        }
        found[function] = OwnExercise(about["name"], about["title"], MUSEUM, "layer", "", about=about, given=code)
        if len(found) == MANY:
            break
    return list(found.values())


def with_bug(exercise, level: int, seed: int, grader) -> str:
    """Return the source of an exercise with a planted mistake. `level` determines which equations are given."""
    if level == FORWARD:
        raise ValueError(f"--bug: the level must be less than {FORWARD}, because the mistake is in backward")
    if exercise.given:
        return with_task(exercise, level, seed, exercise.about["answer"], exercise.given)
    right, mutants = text_of(exercise.source.read_text("utf-8"), exercise, level), list(mutants_of(exercise.source))
    random.Random(f"{seed} {exercise.name}").shuffle(mutants)
    with tempfile.TemporaryDirectory() as folder:
        for mutant in mutants:
            code = text_of(mutant.mutated_source, exercise, level)
            if code == right or mutant.kind in TOO_EASY:
                continue
            nodes = (node for node in ast.walk(ast.parse(mutant.source)) if isinstance(node, ast.stmt))
            answer = target_of(next(node for node in nodes if node.lineno == mutant.lines[0])) or "return"
            text = with_task(exercise, level, seed, answer, code)
            (Path(folder) / f"{exercise.name}.py").write_text(text, "utf-8")
            if isinstance(exercise, OwnExercise):
                (Path(folder) / f"{exercise.name}{ENDING}").write_text(graded_by(exercise, level), "utf-8")
            if grader.verdict(folder, exercise.name).about:
                return text
    raise ValueError(f"{exercise.name}: no mistake was found that changes a gradient")


def text_of(source: str, exercise, level) -> str:
    return "\n".join(File(only_the_question(source, exercise), is_complete=True).taken(exercise, level)) + "\n"


def with_task(exercise, level, seed, answer: str, code: str) -> str:
    mark = f", bug {seed} {digest(exercise, seed, answer)}, cut from"
    return f'{title(exercise, level).replace(", cut from", mark)}\n\n{TASK}"""\n\n{NAME} = ...\n\n{code}'


def digest(exercise, seed, name: str) -> str:
    return hashlib.sha256(f"{exercise.name} {seed} {name}".encode()).hexdigest()[:8]


def of_line(named: str, exercise, tree) -> str:
    """Return the name that the line with the number `named` assigns, unless an equation has this number."""
    if not named.isdigit() or any(named == line.number.strip("()") for line in lines_of(exercise)):
        return named
    at_it = (n for n in ast.walk(tree) if isinstance(n, (ast.Assign, ast.Return)) and n.lineno == int(named))
    return next((target_of(node) or "return" for node in at_it), named)


def hunted(exercise, header: dict, tree, verdict: Verdict) -> Verdict:
    """Return the Verdict on the search for a planted mistake. It does not reveal the line."""
    values = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == NAME]
    named = str(ast.literal_eval(values[-1])) if values and isinstance(values[-1], ast.Constant) else ""
    named = of_line(named.strip("() "), exercise, tree)
    lines = [line.name for line in lines_of(exercise) if named in (line.number.strip("()"), *line.name.split(", "))]
    is_named = header["answer"] in [digest(exercise, header["seed"], name) for name in (named, *lines)]
    names = tuple(row.name for row in verdict.rows if row.verdict == "WRONG")
    wrong = ", ".join(names)
    if verdict.is_solved and is_named:
        return verdict
    words = f"{NAME} {'is' if is_named else 'is not'} the line with the mistake"
    if named == str(...):
        words = f"{NAME} is still blank"
    elif named.isdigit() and not lines:
        words = f"{NAME} is {named}, and neither an equation nor a statement has this number"
    if verdict.is_solved:
        words = f"the gradients are right, but {words}"
    elif wrong:
        words += f"; wrong gradients: {wrong}"
    status = BEGUN if named == str(...) else WRONG
    sentence, asked = verdict.sentence or words, f"which lines lead to {wrong}, and which of them to no right gradient?"
    question = verdict.question or asked * bool(wrong)
    about = ("", *names) if names and not verdict.sentence else ()
    return Verdict(
        exercise.name, status, verdict.level, sentence, question=question, about=about, student=exercise.student
    )
