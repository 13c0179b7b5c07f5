"""`minitransformer learn`: the backward passes as exercises, graded line by line."""

import re
import shutil
import sys
import textwrap
from argparse import SUPPRESS, RawDescriptionHelpFormatter
from contextlib import closing
from pathlib import Path

from minitransformer.system.terminal import say, show, show_to_the_letter, whole_number

# The help of all commands must not load the exercises. A test compares these with the package.
SETS = "all, first, attention, norms, activations, loss, composition"
LEVELS = {
    0: "right-hand sides are blank",
    1: "backward's body",
    2: "its derivation as well",
    3: "forward and backward",
}

HELP = "write the backward passes yourself, graded line by line"

EXAMPLES = """\
  minitransformer learn start
  minitransformer learn start --set attention --level 0
  minitransformer learn check layer_norm
  minitransformer learn watch
"""

NOTES = """\
`start` writes a folder of exercises, each a function of the textbook without its backward pass. `check` compares yours
with derivatives measured on the forward pass of the same file, and names the wrong line and its mistake. Without a
VERB, the command prints your progress and the next exercise.

An installed package contains the answers, because the exercises are cut from it. Neither the folder nor any output of
the command contains an answer.
"""


def add_arguments(parser) -> None:
    add_folder(parser, None)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb")

    def verb(name, words, act):
        added = verbs.add_parser(name, help=words, description=words, formatter_class=RawDescriptionHelpFormatter)
        added.set_defaults(act=act)
        added.add_argument("--traceback", action="store_true", default=SUPPRESS, help="show the traceback of an error")
        return added

    start = verb("start", "write the exercises, and keep existing files", start_here)
    start.add_argument("--level", type=int, choices=tuple(LEVELS), default=1, help=f"{said_of_levels()} (default: 1)")
    start.add_argument("--set", default="all", metavar="SET", help=f"set of exercises: {SETS} (default: all)")
    start.add_argument(
        "--exercise", type=Path, metavar="FILE", help="TOML file of an exercise of your own: see learn/own.py"
    )
    start.add_argument(
        "--out", type=Path, default=Path("learn"), metavar="DIR", help="directory of the exercises (default: learn)"
    )
    check = verb("check", "grade the exercises, and name the wrong lines", check_some)
    check.add_argument("name", nargs="?", metavar="NAME", help="name of an exercise (default: all that are begun)")
    check.add_argument("--plot", type=Path, metavar="FILE", help="also draw its slope f′ (relu, silu, gelu) as a PNG")
    add_folder(check, SUPPRESS)
    hint = verb("hint", "print a hint, each time a more detailed one, but never the answer", give_hint)
    hint.add_argument("name", nargs="?", metavar="NAME", help="name of an exercise (default: the next)")
    add_folder(hint, SUPPRESS)
    add_folder(verb("watch", "grade each saved file, until Ctrl-C", watch), SUPPRESS)
    add_folder(verb("progress", "print a table of all exercises", show_progress), SUPPRESS)
    trains = verb("run", "train a small model with your functions, and print its text", run_model)
    trains.add_argument("--like", choices=("gpt", "llama"), default="gpt", help="family of the model (default: gpt)")
    trains.add_argument(
        "--steps", type=whole_number(1, "--steps"), default=1000, metavar="N", help="training steps (default: 1000)"
    )
    trains.add_argument(
        "--seed", type=whole_number(0, "--seed"), default=0, metavar="N", help="seed of the model (default: 0)"
    )
    add_folder(trains, SUPPRESS)
    add_collect(verb("collect", "grade a folder that holds a folder for each student", collect_marks))
    handout = verb("handout", "write a chapter of the book without the answers", write_paper)
    handout.add_argument("name", metavar="NAME", help="name of an exercise")
    handout.add_argument(
        "--out", type=Path, default=Path("handouts"), metavar="DIR", help="directory of the handout (default: handouts)"
    )
    for name in ("check", "collect"):
        verbs.choices[name].epilog = LIMITS


LIMITS = """\
Each file runs in a separate process, with limits on time, memory and the number of processes, and all processes that
it has started are killed afterwards. This contains accidents but is not a sandbox: the code runs with your rights. It
can read and change your files, use the network, and forge its own marks. A container without network confines it to
one folder:

  docker run --rm --init --network none -u "$(id -u)" -v "$PWD:/class" -w /class minitransformer \\
    minitransformer learn collect submissions --csv marks.csv

The image is built once, in a copy of the repository (podman takes the same commands):

  printf 'FROM python:3.12-slim\\nCOPY . /source\\nRUN pip install /source\\n' | docker build -t minitransformer -f - .
"""

COLLECT = """\
Grade a folder that holds a folder for each student, with files as `learn start` makes them, under their usual variants
(`softmax (1).py`, a notebook, a folder within the folder). Each folder gets a row. Marks are kept in a journal as they
are found: after Ctrl-C the same command continues, and a folder is graded again only if its files, the exercises or
this program have changed.
"""


def add_collect(collects):
    """Add the options of `collect`."""
    collects.description = COLLECT
    add = collects.add_argument
    add("submissions", type=Path, metavar="FOLDER", help="the folder of the students' folders")
    add("--exercise", type=Path, metavar="FILE", help="TOML file of an exercise of your own")
    add("--set", metavar="SET", help=f"the exercises that were set: {SETS} (default: those handed in by anyone)")
    add("--csv", type=Path, metavar="FILE", help="write the marks as a table")
    add("--nbgrader", type=Path, metavar="FILE", help="write the points as `nbgrader export` does")
    add("--gradescope", type=Path, metavar="DIR", help="write Gradescope's DIR/STUDENT/results.json")
    add("--feedback", type=Path, metavar="DIR", help="write DIR/STUDENT/feedback.txt for each student")
    add("--picture", type=Path, metavar="FILE", help="draw the summary as a PNG")
    add("--summary", action="store_true", help="show how many solved each exercise, and the commonest mistakes")
    add("--journal", type=Path, metavar="FILE", help="file of the marks found so far (default: FOLDER/.marks.jsonl)")
    add("--again", action="store_true", help="grade every folder again")
    add("--quiet", action="store_true", help="show no progress")


def add_folder(parser, default):
    """Add the option for the directory of the exercises."""
    parser.add_argument(
        "--in",
        dest="folder",
        type=Path,
        default=default,
        metavar="DIR",
        help="directory of the exercises (default: learn, or .)",
    )


def said_of_levels():
    """Return the help of --level."""
    return "omitted parts, " + "; ".join(f"{level}: {words}" for level, words in LEVELS.items())


def run(arguments) -> int:
    """Run the verb, or show the progress without one."""
    return getattr(arguments, "act", show_where)(arguments)


def start_here(arguments) -> int:
    """Write a folder of exercises."""
    from minitransformer.learn.exercises import exercise_set
    from minitransformer.learn.own import read_toml
    from minitransformer.learn.workspace import start

    exercises = exercise_set(arguments.set) if arguments.exercise is None else [read_toml(arguments.exercise)]
    added, kept = start(arguments.out, exercises, arguments.level)
    for name in added:
        show(f"{arguments.out / name}")
    if kept:
        show(f"left as it is: {kept[0]}" if len(kept) == 1 else f"left as they are: {len(kept)} files that were there")
    show(f"\nBegin with {arguments.out / exercises[0].name}.py, then: minitransformer learn check {exercises[0].name}")
    return 0


def check_some(arguments) -> int:
    """Print verdicts; return 1 unless all are right."""
    from minitransformer.learn.checking import Grader
    from minitransformer.learn.workspace import exercise_in, exercises_in, found_folder, is_begun

    folder = found_folder(arguments.folder)
    if arguments.plot is not None and arguments.name is None:
        raise ValueError("--plot draws one exercise: name it")
    if arguments.name is not None:
        names = [exercise_in(folder, arguments.name).name]
    else:
        names = [name for name in exercises_in(folder) if is_begun(folder, exercise_in(folder, name))]
    if not names:
        return show_where(arguments)
    with Grader() as grader:
        right = [show_verdict(grader.verdict(folder, name)) for name in names]
        if arguments.plot is not None:
            from minitransformer.system.pictures import save

            save(grader.slopes(folder, names[0]), arguments.plot)
            show_to_the_letter(arguments.plot)
    return 0 if all(right) else 1


def show_verdict(verdict) -> bool:
    """Print a verdict; return whether the exercise is solved."""
    show(fitting(str(verdict)))
    return verdict.is_solved


def fitting(text) -> str:
    """Return lines folded to the width of the terminal, if there is one, each under where its words begin."""
    if not sys.stdout.isatty():
        return text
    width = max(shutil.get_terminal_size().columns, 40)
    folded = []
    for line in text.split("\n"):
        start = len(line) - len(line.lstrip())
        begins = start + re.match(r"(\(\d+\) )?[\w.]* {2,}(not right yet|begun|failed|refused)? *|", line[start:]).end()
        folded += textwrap.wrap(line, width, subsequent_indent=" " * begins) or [""]
    return "\n".join(folded)


def verdicts_of(folder):
    """Return the verdicts on all exercises of a folder."""
    from minitransformer.learn.checking import Grader
    from minitransformer.learn.workspace import exercises_in

    with Grader() as grader:
        return [grader.verdict(folder, name) for name in exercises_in(folder)]


def show_progress(arguments) -> int:
    """Print a table of all exercises."""
    from minitransformer.learn.workspace import found_folder

    verdicts = verdicts_of(found_folder(arguments.folder))
    wide = max(len(verdict.name) for verdict in verdicts)
    for verdict in verdicts:
        show(fitting(f"{verdict.name:<{wide}}  {verdict.status:<13}  {verdict.mistake}".rstrip()))
    show(f"\n{sum(v.is_solved for v in verdicts)} of {len(verdicts)} solved")
    return 0


def show_where(arguments) -> int:
    """Print the progress and the next exercise."""
    from minitransformer.learn.workspace import found_folder

    try:
        folder = found_folder(arguments.folder)
    except FileNotFoundError as nothing:
        show(str(nothing))
        return 0
    verdicts = verdicts_of(folder)
    todo = [verdict for verdict in verdicts if not verdict.is_solved]
    show(f"{len(verdicts) - len(todo)} of {len(verdicts)} solved in {folder}")
    if not todo:
        show("All of them. `minitransformer learn run` trains a model with your functions in it.")
        return 0
    show(f"next: {folder / todo[0].name}.py ({todo[0].status}), then: minitransformer learn check {todo[0].name}")
    return 0


def next_of(folder, name):
    """Return the Verdict on an exercise; unless a name is given, on the first that is not solved, or None."""
    from minitransformer.learn.checking import Grader
    from minitransformer.learn.workspace import exercise_in, exercises_in

    names = exercises_in(folder) if name is None else [exercise_in(folder, name).name]
    with Grader() as grader:
        verdicts = (grader.verdict(folder, name) for name in names)
        return next((verdict for verdict in verdicts if not verdict.is_solved), None)


def give_hint(arguments) -> int:
    """Print the next hint."""
    from minitransformer.learn.hints import next_hint
    from minitransformer.learn.workspace import exercise_in, found_folder

    folder = found_folder(arguments.folder)
    verdict = next_of(folder, arguments.name)
    if verdict is None:
        show("there is nothing to hint at: it is right")
    else:
        show(fitting(next_hint(folder, exercise_in(folder, verdict.name), verdict)))
    return 0


def watch(arguments) -> int:
    """Print the verdict on each file as it is saved, until Ctrl-C."""
    from minitransformer.learn.checking import Grader
    from minitransformer.learn.watching import saved_files
    from minitransformer.learn.workspace import found_folder

    folder = found_folder(arguments.folder)
    show_where(arguments)
    say(f"watching {folder}: what you save is checked; Ctrl-C ends")
    with Grader() as grader:
        for name in saved_files(folder):
            show()
            show_verdict(grader.verdict(folder, name))
    return 0


def run_model(arguments) -> int:
    """Train a model with the functions that are solved, and print its text."""
    from minitransformer.learn.running import train
    from minitransformer.learn.workspace import found_folder

    folder = found_folder(arguments.folder)
    solved = [verdict.name for verdict in verdicts_of(folder) if verdict.is_solved]
    if not solved:
        raise ValueError("nothing is solved yet, and a model without anything of yours would prove nothing")
    settings = {"style": arguments.like, "steps": arguments.steps, "seed": arguments.seed}
    calls, written = train(folder, solved, **settings, say=say)
    used = [name for name, times in calls.items() if times]
    show(f"yours in it: {', '.join(used) or 'nothing: no function that is solved belongs to this model'}")
    show_to_the_letter(written)
    return 0


def collect_marks(arguments) -> int:
    """Grade submissions, and write or print their marks; after Ctrl-C, of those that were graded until then."""
    from minitransformer.learn.collecting import JOURNAL, collect, submissions
    from minitransformer.learn.exercises import exercise_set
    from minitransformer.learn.marks import in_words, summary
    from minitransformer.learn.own import read_toml
    from minitransformer.system.files import require_file_path
    from minitransformer.system.narrator import Narrator

    own = [] if arguments.exercise is None else [read_toml(arguments.exercise)]
    exercises = {exercise.name: exercise for exercise in (*exercise_set(arguments.set or "all"), *own)}
    expected = {exercise.name for exercise in own} if arguments.set is None else set(exercises)
    folder, journal = arguments.submissions, arguments.journal or arguments.submissions / JOURNAL
    total, found = len(submissions(folder)), []
    for path in filter(None, (arguments.csv, arguments.nbgrader, arguments.picture, journal)):
        require_file_path(path)
    loose = [path.name for path in folder.iterdir() if path.suffix in (".py", ".ipynb", ".zip")]
    if loose and not arguments.quiet:
        say(f"not graded, as in no folder: {', '.join(sorted(loose)[:5])}{', …' if len(loose) > 5 else ''}")
    with Narrator(arguments.quiet).progress("grading", "submissions", total=total) as move:
        try:
            with closing(collect(folder, exercises, journal, again=arguments.again)) as graded:
                for submission in graded:
                    found.append(submission)
                    move(len(found), total)
        except KeyboardInterrupt as stop:
            write_marks(arguments, found, exercises, expected)
            others = "" if arguments.again else "; the same command grades the others"
            how = f"{str(stop) or 'interrupted'}: {len(found)} of {total} submissions are graded"
            raise type(stop)(how + others) from None
    rows = write_marks(arguments, found, exercises, expected)
    for submission in rows:
        if submission.reason:
            show(f"{submission.name}: not graded: {submission.reason}")
    if arguments.summary or arguments.csv is None:
        show("\n".join(in_words(summary(rows))))
    return 0


def write_marks(arguments, found, exercises, expected) -> list:
    """Write the files that the options name, and print their paths. Return the Submissions, by name.

    Exercises that nobody has handed in are left out unless they are `expected`.
    """
    from minitransformer.learn.collecting import completed
    from minitransformer.learn.marks import feedback, gradescope, marks, nbgrader, summary
    from minitransformer.system.files import write_atomically

    handed_in = {graded.verdict.name for submission in found for graded in submission.graded}
    rows = completed(found, {name: each for name, each in exercises.items() if name in handed_in | expected})
    written = {}
    for path, text in ((arguments.csv, marks), (arguments.nbgrader, nbgrader)):
        written |= {} if path is None else {path: text(rows)}
    for folder, file, text in (
        (arguments.gradescope, "results.json", gradescope),
        (arguments.feedback, "feedback.txt", feedback),
    ):
        written |= {} if folder is None else {folder / row.name / file: text(row) for row in rows}
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file, text=text: file.write(text.encode()))
    for path in filter(None, (arguments.csv, arguments.nbgrader, arguments.gradescope, arguments.feedback)):
        show_to_the_letter(path)
    if arguments.picture is not None and not handed_in:
        say(f"{arguments.picture}: not drawn, as no exercise was handed in")
    elif arguments.picture is not None:
        from minitransformer.learn.pictures import draw_class
        from minitransformer.system.pictures import save

        save(draw_class(summary(rows)), arguments.picture)
        show_to_the_letter(arguments.picture)
    return rows


def write_paper(arguments) -> int:
    """Write a handout and print its path."""
    from minitransformer.book.writing import write_handout
    from minitransformer.learn.exercises import named_exercise, names_by_file

    exercise = named_exercise(arguments.name)
    show_to_the_letter(write_handout(exercise.source.stem, arguments.out, names_by_file()).pages[0])
    return 0
