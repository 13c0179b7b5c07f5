"""Find the files of a class that a teacher should look at: equal solutions, and variants of other students."""

import ast
import hashlib

from minitransformer.book.observation import parsed
from minitransformer.learn.cutting import cut
from minitransformer.learn.refusing import of_header

SHORT = 3  # statements; solutions that are as short may well be equal


def digest_of_code(exercise, text: str) -> str:
    """Return a digest of a solution's code without comments, docstrings and layout, or "" if it is short or given."""
    try:
        exercise, level, _ = of_header(exercise, text)
        given, tree = (ast.parse(cut(exercise, 1 if level is None else level)), parsed(text))
    except (ValueError, SyntaxError, RecursionError):
        return ""
    own, theirs = map(statements, (tree, given))
    new = [statement for statement in own if statement not in theirs]
    return hashlib.sha256("\n".join(own).encode()).hexdigest()[:16] if len(new) > SHORT else ""


def statements(tree) -> list[str]:
    """Return the code of each simple statement in a file, without docstrings."""
    simple = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and not hasattr(n, "body")]
    return [ast.unparse(n) for n in simple if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]


def alike(column) -> dict[str, str]:
    """Compare the solutions of an exercise, and return {name of a submission: what a teacher should look at}.

    `column` maps the name of each submission to its Graded.
    """
    found = {}
    for name, graded in column.items():
        others = [other for other, its in column.items() if other != name and its.code == graded.code]
        student, about = graded.verdict.student, []
        if graded.code and others:
            about.append(f"the same code as {', '.join(others)}")
        if student and student.lower() not in name.lower():
            about.append(f"the variant of {student}")
        if about:
            found[name] = "; ".join(about)
    return found
