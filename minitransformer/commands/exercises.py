"""The verbs of `minitransformer learn`. Each function takes the parsed arguments and returns the exit status.

To keep `check` fast, modules that only other verbs need are imported when those verbs run.
"""

import json
import re
import shlex
import shutil
import sys
import textwrap
from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from gradcheck.front.program import started_as
from gradcheck.front.streams import say, show, show_to_the_letter
from minitransformer.learn import marks, workspace
from minitransformer.learn.cutting import cut
from minitransformer.learn.derivations import files
from minitransformer.learn.exercises import named_exercise, names_by_file
from minitransformer.learn.grading_client import Grader
from minitransformer.learn.hints import next_hint
from minitransformer.learn.own import OwnExercise, exercises_of, read_own, read_toml, require_right
from minitransformer.learn.verdict import drawn_map
from minitransformer.system.files import require_file_path
from minitransformer.system.narrator import Narrator


def start(arguments) -> int:
    text, ending, task = cut, ".py", workspace.TASK
    if arguments.bug is not None and arguments.set == "museum":
        from minitransformer.learn.planting import of_museum

        exercises = of_museum(arguments.bug)
    else:
        exercises = exercises_of(arguments.set) if arguments.exercise is None else read_own(arguments.exercise)
    student = arguments.student or ""
    if not re.fullmatch(r"[\w.@-]*", student):
        raise ValueError(f"--student must consist of letters, digits and the signs . @ - _, not {student!r}")
    exercises = [replace(exercise, student=student) for exercise in exercises]
    with Grader() as grader:
        for exercise in exercises:
            if isinstance(exercise, OwnExercise) and not exercise.given:
                require_right(exercise, grader)
        if arguments.bug is not None:
            from minitransformer.learn.planting import PAGE, with_bug

            task = PAGE
            exercises = [exercise for exercise in exercises if not exercise.is_value]
            text = partial(with_bug, seed=arguments.bug, grader=grader)
        if arguments.notebook:
            from minitransformer.learn.notebooks import notebook_of

            text, ending = partial(notebook_of, text), ".ipynb"
        added, kept = workspace.start(arguments.out, exercises, arguments.level, text, ending, task)
    for name in added:
        show(f"{arguments.out / name}")
    if kept:
        show(f"not overwritten: {kept[0]}" if len(kept) == 1 else f"not overwritten: {len(kept)} existing files")
    first = exercises[0].name
    then = f", then: {check_command(first, arguments.out)}" if ending == ".py" else ""
    show(f"\nBegin with {arguments.out / first}{ending}{then}")
    return 0


def check_command(name, folder) -> str:
    is_default = folder in (workspace.FOLDER, Path())
    return learn(f"check {name}" + ("" if is_default else f" --in {shlex.quote(str(folder))}"))


def learn(words: str) -> str:
    return f"{started_as('minitransformer')} learn {words}"


def where(arguments) -> int:
    try:
        folder = workspace.found_folder(arguments.folder)
    except FileNotFoundError as nothing:
        show(str(nothing))
        return 0
    verdicts = verdicts_of(folder)
    todo = [verdict for verdict in verdicts if not verdict.is_solved]
    show(f"{len(verdicts) - len(todo)} of {len(verdicts)} solved in {folder}")
    if todo:
        name = todo[0].name
        show(f"next: {folder / name}.py ({todo[0].status}), then: {check_command(name, folder)}")
    else:
        show(f"All of them. `{learn('run')}` trains a model with your functions in it.")
    return 0


def open(arguments) -> int:
    from minitransformer.learn.workbench.actions import Actions
    from minitransformer.learn.workbench.book import Book
    from minitransformer.learn.workbench.checking import Checks
    from minitransformer.learn.workbench.serving import Server, opened_in_browser

    book = Book(arguments.book)
    if arguments.book != Path("book") and not book.is_there:
        raise FileNotFoundError(
            f"{arguments.book}: contains no book; write one with: minitransformer book --out FOLDER"
        )
    folder = arguments.folder or workspace.FOLDER
    if not workspace.exercises_in(folder):
        workspace.start(folder, exercises_of("all"), arguments.level)
    with closing(Checks(folder)) as checks, Server(Actions(folder, checks, book), book, arguments.port or 0) as server:
        show(f"the workbench: {server.address}\nCtrl-C ends it")
        with nullcontext() if arguments.no_browser else opened_in_browser(server.address):
            server.serve_until_idle()
    return 0


def check(arguments) -> int:
    folder = workspace.found_folder(arguments.folder)
    names = [arguments.name] if arguments.name else workspace.begun_in(folder)
    if not names:
        return where(arguments)
    with Grader() as grader:
        right = [show_verdict(grader, folder, name) for name in names]
    return 0 if all(right) else 1


def hint(arguments) -> int:
    folder = workspace.found_folder(arguments.folder)
    names = [arguments.name] if arguments.name else workspace.exercises_in(folder)
    with Grader() as grader:
        verdicts = (grader.verdict(folder, name) for name in names)
        verdict = next((verdict for verdict in verdicts if not verdict.is_solved), None)
    if verdict is None:
        show("no hint: there is no mistake")
    else:
        show(folded(next_hint(folder, workspace.exercise_in(folder, verdict.name), verdict)))
    return 0


def watch(arguments) -> int:
    folder = workspace.found_folder(arguments.folder)
    say("checking all exercises, which takes some seconds")
    where(arguments)
    say(f"watching {folder}: each saved exercise is checked; Ctrl-C ends")
    with Grader() as grader:
        for name in workspace.saved_files(folder):
            show()
            show_verdict(grader, folder, name)
    return 0


def progress(arguments) -> int:
    verdicts = verdicts_of(workspace.found_folder(arguments.folder))
    show(drawn_map(verdicts))
    wide = max(len(verdict.name) for verdict in verdicts)
    for verdict in verdicts:
        show(folded(f"{verdict.name:<{wide}}  {verdict.status:<13}  {verdict.mistake}".rstrip()))
    show(f"\n{sum(v.is_solved for v in verdicts)} of {len(verdicts)} solved")
    return 0


def run(arguments) -> int:
    folder = workspace.found_folder(arguments.folder)
    solved = [verdict.name for verdict in verdicts_of(folder) if verdict.is_solved]
    if not solved:
        raise ValueError("at least one exercise must be solved, because the model uses your functions")
    from minitransformer.learn import small_model

    settings = {"steps": arguments.steps, "seed": arguments.seed}
    calls, (loss, goal), written = small_model.train(folder, solved, **settings, say=say)
    used = [name for name in solved if calls[name]]
    missing = [name for name, times in calls.items() if times and name not in solved]
    show(f"your functions in this model: {', '.join(used) or 'none, because no solved exercise belongs to it'}")
    if missing:
        show(f"still the package's: {', '.join(missing)}")
    reached = "reached" if loss < goal else "not reached, more --steps may help"
    show(f"loss {loss:.3f}; the goal is {goal:.3f}, the loss of a table of pairs of letters: {reached}")
    show_to_the_letter(written)
    return 0


def collect(arguments) -> int:
    """Grade submissions, and write or print the marks.

    After Ctrl-C, the marks are those of the submissions that have been graded.
    """
    from minitransformer.learn import deciding
    from minitransformer.learn.collecting import JOURNAL, collected, completed, loose_files, submissions

    own = [] if arguments.exercise is None else read_own(arguments.exercise)
    exercises = {exercise.name: exercise for exercise in (*exercises_of(arguments.set or "all"), *own)}
    expected = {exercise.name for exercise in own} if arguments.set is None else set(exercises)
    roster = deciding.read_roster(arguments.roster) if arguments.roster else None
    adjustments = deciding.read_adjustments(arguments.adjust) if arguments.adjust else []
    folder, journal = arguments.submissions, arguments.submissions / JOURNAL
    total, found, stop = len(submissions(folder)), [], None
    for path in filter(None, (arguments.csv, arguments.nbgrader, journal)):
        require_file_path(path)
    if (loose := loose_files(folder)) and not arguments.quiet:
        say(f"not graded, because not in a student's folder: {', '.join(loose[:5])}{', …' if len(loose) > 5 else ''}")
    with Narrator(arguments.quiet).progress("grading", "submissions", total=total) as move:
        try:
            how = {"again": arguments.again, "is_package_allowed": arguments.allow_package}
            with closing(collected(folder, exercises, journal, **how)) as graded:
                for submission in graded:
                    found.append(submission)
                    move(len(found), total)
        except KeyboardInterrupt as interrupt:
            stop = interrupt
    unknown: list = []
    if roster is not None and stop is None:
        found, unknown = deciding.with_absent(found, roster)
    rows = deciding.counted(completed(found, exercises, expected), exercises, arguments.level, arguments.personal)
    if stop is None:
        rows = deciding.adjusted(rows, adjustments, arguments.adjust)
    for path in marks.write(rows, arguments.csv, arguments.nbgrader, arguments.gradescope, arguments.feedback):
        show_to_the_letter(path)
    if stop is not None:
        others = "" if arguments.again else "; the same command grades the others"
        raise type(stop)(f"{str(stop) or 'interrupted'}: {len(found)} of {total} submissions are graded{others}")
    for submission in rows:
        if submission.reason:
            show(f"{submission.name}: not graded: {submission.reason}")
    for name in unknown:
        show(f"{name}: not on the roster")
    if arguments.summary or arguments.csv is None:
        show("\n".join([*marks.in_words(marks.summary(rows)), *marks.to_look_at(rows)]))
    return 0


def derive(arguments) -> int:
    if arguments.check is not None:
        return judge(arguments.check, as_json=arguments.json)
    if arguments.json:
        raise ValueError("--json can only be used together with --check")
    if arguments.name is None:
        show(f"derivations: {', '.join(files.exercises())}")
        show(f"\nBegin with: {learn('derive softmax')}")
        return 0
    text, path = files.text_of(arguments.name), arguments.out / f"{arguments.name}.txt"
    if path.exists():
        show(f"not overwritten: {path}")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        show_to_the_letter(path)
    show(f"\nWrite your equations below the header, then: {learn('derive --check ' + shlex.quote(str(path)))}")
    return 0


def judge(path, as_json) -> int:
    from minitransformer.learn.derivations.judging import judged

    derivation = files.read(path)
    judgements, missing = judged(derivation)
    wrong = [judgement for judgement in judgements if judgement.verdict not in ("holds", "defines")]
    if as_json:
        show_to_the_letter(json.dumps([asdict(judgement) for judgement in judgements], ensure_ascii=False, indent=1))
        return 1 if wrong or missing else 0
    texts = dict(derivation.lines)
    for judgement in judgements:
        show(f"{judgement.line:>4}  {judgement.verdict:<13}  {texts[judgement.line].strip()}")
        if judgement.remark:
            show(textwrap.fill(judgement.remark, 100, initial_indent=" " * 21, subsequent_indent=" " * 21))
    if wrong:
        show(f"\nlook at line {wrong[0].line} first")
    elif missing:
        show(f"\nnot complete: {', '.join(missing)} in closed form")
    else:
        show("\ncomplete and right")
    return 1 if wrong or missing else 0


def handout(arguments) -> int:
    from minitransformer.book.writing import write_handout

    if arguments.name.endswith(".toml"):
        exercise = read_toml(arguments.name)
        written = write_handout(str(exercise.source), arguments.out, {})
    else:
        written = write_handout(named_exercise(arguments.name).source.stem, arguments.out, names_by_file())
    show_to_the_letter(written.pages[0])
    return 0


def verdicts_of(folder) -> list:
    with Grader() as grader:
        return [grader.verdict(folder, name) for name in workspace.exercises_in(folder)]


def show_verdict(grader, folder, name) -> bool:
    head: list = []

    def first(verdict):
        head.extend(verdict.lines()[:1])
        show(folded(head[0]))

    verdict = grader.verdict(folder, name, first)
    if rest := verdict.lines()[len(head) :]:
        show(folded("\n".join(rest)))
    return verdict.is_solved


def folded(text) -> str:
    """Wrap lines to the width of the terminal, with a hanging indent. Without a terminal, the text is unchanged."""
    if not sys.stdout.isatty():
        return text
    width, lines = max(shutil.get_terminal_size().columns, 40), []
    for line in text.split("\n"):
        start = len(line) - len(line.lstrip())
        begins = start + re.match(r"(\(\d+\) )?[\w.]* {2,}(not right yet|begun|failed|refused)? *|", line[start:]).end()
        lines += textwrap.wrap(line, width, subsequent_indent=" " * begins) or [""]
    return "\n".join(lines)
