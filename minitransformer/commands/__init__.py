"""The commands of the command line, one module each.

A command is a module with

    HELP                     what it does, in one line
    add_arguments(parser)    adds its options; may set parser.description and parser.epilog
    run(arguments) -> int    does it, and returns the exit status

and raises an exception for whatever goes wrong: cli.py makes it one line. What a command produces goes to standard
output, what it says meanwhile to standard error. All modules are imported to build the help, so what is slow to
import, or an extra, is imported inside `run`.

One file is for all of them: options.py makes options of the fields of settings. What a model's file remembers of these,
training/remembered.py says.
"""

NAMES = (
    *("book", "learn"),  # the derivations, to read and to write
    *("demo", "train", "generate", "finetune", "info"),  # make a model
    *("analyze", "influence", "patterns", "scale", "misconceptions"),  # see what it does, and why
    *("fetch", "chat", "verify"),  # the same with a model that others trained
    "bench",
)
