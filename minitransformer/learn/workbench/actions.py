"""The actions of the page: each is a method with JSON-serializable arguments and results.

Names of exercises come from a list, and no argument is a path. Files are those of the terminal's commands, and a file
that has changed outside of the page is offered to it and not overwritten.
"""

import ast
import secrets
from dataclasses import replace
from pathlib import Path

from minitransformer.learn import workspace
from minitransformer.learn.cutting import cut, functions_within
from minitransformer.learn.exercises import FORWARD, LEVELS, Exercise
from minitransformer.learn.explaining import NOT_RETURNED, equation_numbers
from minitransformer.learn.hints import next_hint
from minitransformer.learn.reading import read_regular
from minitransformer.learn.refusing import Refusal, of_header
from minitransformer.learn.verdict import BLANK, PLAN, RIGHT, SOLVED, UNTOUCHED, WRONG_LINE, Row, Verdict
from minitransformer.learn.workbench.book import INDEX, Book, chapter_of
from minitransformer.learn.workbench.checking import MOST_BYTES, Checks, digest_of
from minitransformer.learn.workbench.task import task_of
from minitransformer.system.files import write_atomically

PATIENCE = 20.0  # seconds until an unanswered `verdict` is asked again
SEEDS = 10**6  # of planted mistakes
BEFORE_RESET = ".before-reset"  # added to the name of a file whose exercise begins anew


class Changed(ValueError):  # noqa: N818
    """Raised if a file has changed outside of the page. `text` is its content."""

    def __init__(self, name: str, text: str):
        super().__init__(f"{name}.py has changed outside of this page")
        self.text = text


class Actions:
    """The actions on the exercises in `folder`, and the chapters of a book about them."""

    def __init__(self, folder, checks: Checks, book: Book):
        self.folder, self.checks, self.book = Path(folder), checks, book

    def exercises(self) -> dict:
        """Return the exercises of the folder in order, and the map of the model."""
        known = workspace.known_in(self.folder)
        listed = [{"name": name, "title": known[name].title} for name in workspace.exercises_in(self.folder)]
        index = INDEX if self.book.is_there else ""
        return {"folder": str(self.folder), "exercises": listed, "levels": LEVELS, "book": index, "map": PLAN}

    def status(self, name: str) -> dict:
        """Grade an exercise. Return its status, or "" if another request was made meanwhile."""
        if not workspace.is_begun(self.folder, workspace.exercise_in(self.folder, name)):
            return {"status": UNTOUCHED}
        verdict = self.checks.of(name)
        return {"status": "" if verdict is None else verdict.status}

    def open(self, name: str) -> dict:
        """Return the text of an exercise, its digest, level and task."""
        return self.opened(workspace.exercise_in(self.folder, name))

    def save(self, name: str, text: str, digest: str) -> dict:
        """Write the text unless the file no longer has the digest of the text that was edited. Return the new one."""
        exercise = workspace.exercise_in(self.folder, name)
        content = text.encode()
        if len(content) > MOST_BYTES:
            raise ValueError(f"the text has {len(content):,} bytes; at most {MOST_BYTES:,} are allowed")
        path, now = self.path_of(exercise), self.content_of(exercise)
        if digest_of(now) not in (digest, digest_of(content)):
            raise Changed(name, now.decode("utf-8", "replace"))
        if now != content:
            write_atomically(path, lambda file: file.write(content))
        return {"digest": digest_of(content)}

    def check(self, name: str) -> dict:
        """Begin to grade the file of an exercise. Return the number of the request for `verdict`."""
        workspace.exercise_in(self.folder, name)
        return {"number": self.checks.request(name)}

    def verdict(self, number: int, parts: int) -> dict:
        """Return the verdict of a request when it has more than `parts` parts, with the line of each row."""
        verdict, is_last = self.checks.wait(number, parts, PATIENCE)
        if verdict is None:
            return {"state": "cancelled" if is_last else "running"}
        if verdict.is_solved:  # its rows are empty
            numbers = equation_numbers(workspace.exercise_in(self.folder, verdict.name))
            verdict = replace(verdict, rows=tuple(Row(number, name, RIGHT) for name, number in numbers.items()))
        rows = [
            {**row, "line": line} for row, line in zip(verdict.to_json()["rows"], self.lines_of(verdict), strict=True)
        ]
        found = {"name": verdict.name, "status": verdict.status, "sentences": verdict.sentences, "rows": rows}
        return found | {"state": "final" if is_last else "first", "is_solved": verdict.status == SOLVED}

    def hint(self, name: str) -> dict:
        """Return the next hint on the last verdict, and the name that its line assigns, or "" if it is not Python."""
        exercise = workspace.exercise_in(self.folder, name)
        verdict = self.checks.of(name)
        if verdict is None:
            raise ValueError(f"{name} was checked again meanwhile; ask for the hint once more")
        if verdict.is_solved:
            return {"hint": "there is no mistake", "about": ""}
        names = [row.name for row in (verdict.first_wrong, *verdict.rows) if row and row.verdict in (WRONG_LINE, BLANK)]
        about = names or [""] * bool(verdict.sentence) or [*equation_numbers(exercise), ""]
        return {"hint": next_hint(self.folder, exercise, verdict), "about": about[0]}

    def numbers(self, name: str) -> dict:
        """Return a description of a small example, and the values of the numbered lines on it with the right ones."""
        workspace.exercise_in(self.folder, name)
        return self.checks.numbers(name)

    def reset(self, name: str, level: int, digest: str) -> dict:
        """Write an exercise anew at a level. The previous text is kept in a file beside it."""
        exercise = workspace.exercise_in(self.folder, name)
        if level not in LEVELS:
            raise ValueError(f"level must be one of {', '.join(map(str, LEVELS))}, not {level}")
        return self.begun_anew(exercise, cut(self.header_of(exercise)[0], level), digest)

    def plant(self, name: str, digest: str) -> dict:
        """Write a complete solution with one mistake, to be found. The previous text is kept in a file beside it."""
        exercise = workspace.exercise_in(self.folder, name)
        of_file, level = self.header_of(exercise)
        level = 1 if level is None else min(level, FORWARD - 1)
        return self.begun_anew(exercise, self.checks.planted(of_file, level, secrets.randbelow(SEEDS)), digest)

    def begun_anew(self, exercise: Exercise, text: str, digest: str) -> dict:
        before = self.content_of(exercise)
        kept = self.folder / f"{exercise.name}{BEFORE_RESET}"
        write_atomically(kept, lambda file: file.write(before))
        self.save(exercise.name, text, digest)
        return self.opened(exercise) | {"kept": kept.name}

    def opened(self, exercise: Exercise) -> dict:
        content = self.content_of(exercise)
        text = content.decode("utf-8", "replace")
        header, level = self.header_of(exercise)
        try:
            task = task_of(text, exercise.name)
        except SyntaxError:  # it is being edited
            task = task_of(cut(header, 1 if level is None else level), exercise.name)
        chapter = chapter_of(exercise)
        found = {"name": exercise.name, "title": exercise.title, "level": level}
        found["chapter"] = chapter if self.book.has(chapter) else ""
        return found | {"text": text, "digest": digest_of(content), "task": task, "file": self.path_of(exercise).name}

    def header_of(self, exercise: Exercise) -> tuple[Exercise, int | None]:
        """Return the exercise with the student of its file, and its level, or None if the file does not state it."""
        try:
            found, level, _ = of_header(exercise, self.content_of(exercise).decode("utf-8", "replace"))
        except (SyntaxError, Refusal):
            return exercise, None
        return found, level

    def lines_of(self, verdict: Verdict) -> list[int | None]:
        """Return the line of each row: that of the last assignment to its name or entries, or the last return."""
        exercise = workspace.exercise_in(self.folder, verdict.name)
        try:
            tree = ast.parse(self.content_of(exercise))
        except SyntaxError:
            return [None] * len(verdict.rows)
        lines: dict[str, int] = {}
        for node in ast.walk(tree):
            name = node.value if isinstance(node, ast.Subscript) else node
            if isinstance(getattr(node, "ctx", None), ast.Store) and isinstance(name, ast.Name):
                lines[name.id] = max(node.lineno, lines.get(name.id, 0))
        backwards = (f for f in functions_within(tree) if f.name == "backward")
        returns = [node.lineno for f in backwards for node in ast.walk(f) if isinstance(node, ast.Return)]
        last = max(returns, default=None)
        return [last if row.kind == NOT_RETURNED else lines.get(row.name) for row in verdict.rows]

    def content_of(self, exercise: Exercise) -> bytes:
        return read_regular(self.path_of(exercise), MOST_BYTES)[0]

    def path_of(self, exercise: Exercise) -> Path:
        return self.folder / f"{exercise.name}.py"
