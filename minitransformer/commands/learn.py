"""`minitransformer learn`: exercises in writing backward passes, graded line by line. exercises.py has the verbs."""

from argparse import SUPPRESS
from functools import partial
from importlib import import_module
from pathlib import Path

from minitransformer.commands.options import option, out_option, seed_option, switch
from minitransformer.module import plain

# The help of all commands must not load the exercises. A test compares these constants with the package.
SETS = "all, beginning, first, attention, norms, activations, loss, composition, modern, capstones"
LEVELS = {
    0: "right-hand sides; the equations and names are given",
    1: "backward; its equations are given",
    2: "backward; only the slopes (the Jacobian's entries) are given",
    3: "backward; nothing is given",
    4: "forward and backward",
}

HELP = "write the backward passes yourself, graded line by line"

EXAMPLES = """\
  minitransformer learn open
  minitransformer learn start
  minitransformer learn start --set attention --level 0
  minitransformer learn check layer_norm
  minitransformer learn watch
"""

NOTES = """\
`start` writes a folder of exercises. An exercise is a function of the textbook without its backward pass. `check`
compares your backward pass with derivatives of the forward pass in the same file, and names the wrong line and its
mistake. Without VERB, the command prints your progress and the next exercise.

An installed package contains the answers, because the exercises are cut from it. The folder and the output contain no
answer, but the files of `start --bug` have all lines of a backward pass except one.
"""

LIMITS = """\
Each file runs in a separate process, with limits on time, memory and the number of processes, and all processes that
it has started are killed afterwards. This protects against accidents but is not a sandbox. The code runs with your
rights. It can read and change your files, use the network, and forge marks. A container without network confines it to
one folder:

  docker run --rm --init --network none -u "$(id -u)" -v "$PWD:/class" -w /class minitransformer \\
    minitransformer learn collect submissions --csv marks.csv

The image is built once, in a copy of the repository (podman takes the same commands):

  printf 'FROM python:3.12-slim\\nCOPY . /source\\nRUN pip install /source\\n' | docker build -t minitransformer -f - .
"""

COLLECT = """\
The folder contains a folder for each student, with the files that `learn start` writes. Variants such as
`softmax (1).py`, a notebook, and folders and zip files within the folder are accepted, and so is a zip file in place
of a folder. The table has a row for each student. Marks are saved to a journal one by one: after Ctrl-C the same
command resumes, and a folder is graded again only if its files, the exercises or this program have changed.

"""


DERIVE = """\
`derive NAME` writes a file with the forward equations. Below them, write equations, one on each line, with words
between them. `--check FILE` reports for each equation that it holds, the numbers for which it does not, or the reason
why it cannot be decided. The exit status is 0 if all equations hold and each requested gradient is in closed form.
Otherwise it is 1.

The notation is that of the book; dx/dy, sum_i, *, @, x.T, xhat and LaTeX are accepted as well. Equalities are judged,
not reasons. To write an exercise of your own, see learn/derivations/README.md.
"""

OPEN = """\
The page lists the exercises of the folder, and shows each beside its derivation. A folder without exercises gets all of
them. Each change is saved to the file that the other verbs use, and checked. Ctrl-C ends the program, and so does an
hour without use.

The server listens on this machine only (127.0.0.1), and each action needs the secret in the link. This is not a
sandbox: your code runs with your rights, in a separate process with limits on time and memory.
"""

VERB_NOTES = {"open": OPEN, "check": LIMITS, "collect": COLLECT + LIMITS, "derive": DERIVE}
VERB_EXAMPLES = (
    "minitransformer learn start --set attention --level 0",
    "minitransformer learn start --level 2 --out another",
    "minitransformer learn start --set norms --bug 1 --level 2 --out bugs",
    "minitransformer learn start --set first --student ada --out class/ada",
    "minitransformer learn open",
    "minitransformer learn open --level 1 --no-browser",
    "minitransformer learn check layer_norm",
    "minitransformer learn hint layer_norm",
    "minitransformer learn watch --in another",
    "minitransformer learn progress --in another",
    "minitransformer learn run --steps 300",
    "minitransformer learn collect submissions --set first --csv marks.csv --summary",
    "minitransformer learn collect submissions --gradescope results",
    "minitransformer learn collect submissions --roster class.csv --level 1 --adjust adjustments.csv --csv marks.csv",
    "minitransformer learn handout layer_norm",
    "minitransformer learn derive softmax",
    "minitransformer learn derive --check derivations/softmax.txt",
)


def add_arguments(parser) -> None:
    folder_option(parser, None)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb")
    for verb, (words, add_options) in VERBS.items():
        examples = "".join(f"  {line}\n" for line in VERB_EXAMPLES if line.startswith(f"minitransformer learn {verb} "))
        description = f"{words[0].upper()}{words[1:]}.\n\nexamples:\n{examples}"
        how = {"epilog": VERB_NOTES.get(verb)}
        added = verbs.add_parser(verb, help=words, description=description, **how)
        add_options(added)
        added.set_defaults(parser=added)
        switch(added, "--traceback", "show the traceback of an error", default=SUPPRESS)


def folder_option(parser, default=SUPPRESS) -> None:
    words = "directory of the exercises (default: learn, or .)"
    parser.add_argument("--in", dest="folder", type=Path, default=default, metavar="DIR", help=words)


def start_options(parser) -> None:
    words = "parts to write, " + "; ".join(f"{level}: {part}" for level, part in LEVELS.items())
    option(parser, "--level", words, 1, choices=tuple(LEVELS))
    option(parser, "--set", f"set of exercises: {SETS}; or a folder of TOML files", "all", "SET")
    words = "your own exercise: a TOML file (see learn/example_set/), or a Python file with CASES"
    option(parser, "--exercise", words, metavar="FILE", type=Path)
    words = "seed of a mistake, planted in a complete backward pass; --set museum: mistakes that others have made"
    option(parser, "--bug", words, metavar="SEED", type=int)
    option(parser, "--student", "name or number of a student, for a variant in which copied code fails", metavar="ID")
    switch(parser, "--notebook", "write notebooks, with a cell that checks")
    out_option(parser, "learn", "directory of the exercises")


def open_options(parser) -> None:
    folder_option(parser, default=None)
    words = "level of the exercises, if there are none yet"
    option(parser, "--level", words, 0, choices=tuple(LEVELS))
    option(
        parser,
        "--port",
        "port to listen on (default: a free one)",
        metavar="N",
        limits={"minimum": 1, "maximum": 65535},
    )
    words = "folder of a built book, for links between its chapters and the exercises"
    option(parser, "--book", words, Path("book"), "FOLDER", type=Path)
    switch(parser, "--no-browser", "print the link, and open no browser")


def name_and_folder(parser, default: str) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help=f"name of an exercise (default: {default})")
    folder_option(parser)


def run_options(parser) -> None:
    option(parser, "--steps", "training steps", 1000, "N", limits={"minimum": 1})
    seed_option(parser, "the model")
    folder_option(parser)


def collect_options(parser) -> None:
    parser.add_argument("submissions", type=Path, metavar="FOLDER", help="folder that contains the students' folders")
    words = f"set of exercises to grade: {SETS}; or a folder of TOML files (default: all that were handed in)"
    option(parser, "--set", words, metavar="SET")
    for flag, metavar, words in (
        ("--exercise", "FILE", "TOML or Python file of an exercise of your own"),
        ("--roster", "FILE", "table or list of the students, of whom the absent ones get a row"),
        ("--adjust", "FILE", "table of points to replace: student,exercise,points,reason"),
        ("--csv", "FILE", "file for the marks as a table"),
        ("--nbgrader", "FILE", "file for the points in the format of `nbgrader export`"),
        ("--gradescope", "DIR", "directory for Gradescope's DIR/STUDENT/results.json"),
        ("--feedback", "DIR", "directory for DIR/STUDENT/feedback.txt"),
    ):
        option(parser, flag, words, metavar=metavar, type=Path)
    option(parser, "--level", "lowest level that counts (default: any)", choices=tuple(LEVELS), type=int)
    switch(parser, "--personal", "count only the student's own variant of `start --student`")
    switch(parser, "--summary", "show the number of solutions of each exercise, and the most common mistakes")
    switch(parser, "--again", "grade every folder again")
    switch(parser, "--allow-package", "give points to files that take their answers from this package")
    switch(parser, "--quiet", "show no progress")


def handout_options(parser) -> None:
    parser.add_argument("name", metavar="NAME", help="name of an exercise, or the TOML file of your own")
    out_option(parser, "handouts", "directory of the handout")


def derive_options(parser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of a derivation (default: list them)")
    out_option(parser, "derivations", "directory of the file")
    option(parser, "--check", "text file of a derivation to judge", metavar="FILE", type=Path)
    switch(parser, "--json", "print the verdicts as JSON")


# {verb: (summary, options)}
VERBS = {
    "start": ("write the exercises, and keep existing files", start_options),
    "open": ("write the backward passes in the browser, each line judged while you type", open_options),
    "check": ("grade the exercises, and name the wrong lines", partial(name_and_folder, default="all begun exercises")),
    "hint": (
        "print a hint that becomes more detailed each time, but not the answer",
        partial(name_and_folder, default="the next"),
    ),
    "watch": ("grade each saved file, until Ctrl-C", folder_option),
    "progress": ("print a map of the model and a table of the exercises", folder_option),
    "run": ("train a small model with your functions, and print its text", run_options),
    "collect": ("grade the folders of a class", collect_options),
    "derive": ("write a derivation as text, judged line by line", derive_options),
    "handout": ("write a chapter of the book without the answers", handout_options),
}


def run(arguments) -> int:
    if arguments.folder is not None and arguments.verb in ("start", "collect", "handout", "derive"):
        other = ", but --out" * (arguments.verb in ("start", "handout"))
        raise ValueError(f"{arguments.verb} has no option --in{other}: see learn {arguments.verb} --help")
    verbs = import_module("minitransformer.commands.exercises")  # here, because it takes a noticeable time
    with plain():  # the textbook itself, which the exercises are cut from
        return getattr(verbs, arguments.verb or "where")(arguments)
