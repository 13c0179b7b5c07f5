"""Write an exercise as a notebook, and extract solutions from a notebook."""

import ast
import json
import pprint
import re

from gradcheck.names import names_bound
from minitransformer.book.observation import is_python
from minitransformer.learn.cutting import File
from minitransformer.learn.explaining import equation_numbers, worth_of
from minitransformer.learn.reading import Unreadable

MAGIC = re.compile(r"^[ \t]*(?:[%!?].*|[\w.]+\?+[ \t]*)$", re.MULTILINE)


def sources_of_notebook(content: bytes, exercises):
    """Yield each exercise whose function a notebook defines, with the source of the solution.

    The source is the last definition, with the imports, functions and constants that it needs. Raises Unreadable if the
    content is not a notebook.
    """
    try:
        cells = json.loads(content)["cells"]
        texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unreadable(f"is not a notebook: {type(error).__name__}: {error}") from None
    yield from sources_of_text(
        "\n".join(cell for cell in (MAGIC.sub("", text) for text in texts) if is_python(cell)), exercises
    )


def header_in(text, name) -> str:
    """Return the first line of an exercise's docstring, which states its name and level, or "" if it is not there."""
    first = rf"{name}, level [0-4](?:, (?:student|bug) [^\n,]*)*, cut from [^\n\"']*"
    header = re.search(rf"^[ \t]*[\"']{{3}}({first})", text, re.MULTILINE)
    return header[1] if header else ""


def sources_of_text(text, exercises):
    """Yield each exercise whose function a text defines, with the source of the solution (see sources_of_notebook)."""
    try:
        file = File(text)
        for name, exercise in exercises.items():
            node = file.nodes.get(exercise.target)
            inner = [n for n in ast.walk(node) if isinstance(n, (ast.FunctionDef, ast.Lambda))] if node else []
            if len(inner) > (not exercise.is_value):
                needed = file.needed(exercise.target) | {"*", "WRONG_LINE"}
                kept = [n for n in file.body if needed & {*names_bound(n)}]
                header = header_in(text, name)
                top = [f'"""{header}"""'] if header else []
                yield name, "\n".join(top + ["\n".join(file.lines[start(n) : n.end_lineno]) for n in kept]).encode()
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Unreadable(f"cannot be parsed: {str(error) or type(error).__name__}") from None


def start(node) -> int:
    return min(part.lineno for part in (node, *getattr(node, "decorator_list", ()))) - 1


def notebook_of(text, exercise, level) -> str:
    """Return an exercise as a notebook, with cells for the solution, its check and its points.

    `text(exercise, level)` returns the source of the exercise. The last cell is marked for nbgrader, which takes the
    number that it displays as the points.
    """
    name, no_result = exercise.name, {"execution_count": None, "outputs": []}
    task = f"# {name}: {exercise.title}\n\nReplace each `...` in the first cell, and run all cells."
    code = f"%%writefile {name}.py\n{text(exercise, level).rstrip()}"
    check = f'from minitransformer.learn import check\n\ncheck("{name}", ".")'
    graded = {"grade": True, "solution": False, "locked": True, "task": False, "schema_version": 3}
    graded |= {"grade_id": f"{name}-points", "points": worth_of(exercise)}
    points = f'from minitransformer.learn import points\n\npoints("{name}", ".")'
    cells = [
        {"cell_type": "markdown", "id": "markdown", "metadata": {}, "source": task},
        {"cell_type": "code", "id": "code", "metadata": {}, "source": code} | no_result,
        {"cell_type": "code", "id": "check", "metadata": {}, "source": check} | no_result,
        {"cell_type": "code", "id": "points", "metadata": {"nbgrader": graded}, "source": points} | no_result,
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    whole = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def otter_test_of(exercise) -> str:
    """Return a test of the Otter autograder, with a case for each point of an exercise in the current folder."""
    count = len(equation_numbers(exercise)) or 1
    share, import_line = worth_of(exercise) / count, ">>> from minitransformer.learn import points\n"
    codes = [
        f"{import_line}>>> points({exercise.name!r}, '.') >= {share * k - 1e-6}\nTrue" for k in range(1, count + 1)
    ]
    cases = [{"code": code, "hidden": False, "locked": False, "points": share} for code in codes]
    suite = {"cases": cases, "scored": True, "setup": "", "teardown": "", "type": "doctest"}
    return f"OK_FORMAT = True\n\ntest = {pprint.pformat({'name': exercise.name, 'suites': [suite]}, width=110)}\n"
