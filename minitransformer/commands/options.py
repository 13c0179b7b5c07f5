"""Define the options that several commands share, and options for the fields of settings.

`add_fields` declares an option for each field of a dataclass of settings (system/validation.py). An option that is not
given is absent from the arguments, so the default is that of the dataclass or of the resumed checkpoint.
"""

import argparse
import re
from contextlib import contextmanager
from pathlib import Path

from minitransformer.config import repeated, window
from minitransformer.language_model import LanguageModel
from minitransformer.system.cores import MOST_PROCESSES
from minitransformer.system.tuning import tune_for
from minitransformer.system.validation import check_int, number, one_of, statements, text, true_or_false

MODEL = "a model's file, a folder that train or demo wrote, a GGUF file, or a folder of the Hugging Face layout"
PROCESSES = {"minimum": 1, "maximum": MOST_PROCESSES}  # the limits of an option
FLAGS = {
    "n_layers": "--layers",
    "n_heads": "--heads",
    "d_model": "--width",
    "d_ff": "--ff",
    "n_kv_heads": "--kv-heads",
    "d_head": "--head-width",
    "d_latent": "--latent-width",
    "n_experts": "--experts",
    "n_active": "--active",
    "betas": "--beta1 and --beta2",
    "sample_prompt": "--prompt",
    "prompts": "--prompt",
    "model": "MODEL",
    **{name: name for name in ("bias", "tie_embeddings", "trainable")},  # fields without an option of the same meaning
}
MOST_IN_METAVAR = 30  # characters of the choices of an option; more are listed in its help
KINDS = {
    check_int: {"type": int, "metavar": "N"},
    number: {"type": float, "metavar": "X"},
    text: {"metavar": "TEXT"},
    true_or_false: {"action": "store_true"},
}


def load_model(path) -> LanguageModel:
    """Load a model. A large model may then use all cores."""
    lm = LanguageModel.load(path)
    tune_for(lm.model.config)
    return lm


def option(group, flag: str, words: str, default=None, metavar: str | None = None, *, limits=None, **more) -> None:
    """Add an option with the type of its default. `limits` are keyword arguments of check_int (see check_limits)."""
    if default is not None:
        more = {"type": type(default), **more}
        words = f"{words} (default: {default})"
    elif limits is not None:
        more = {"type": int, **more}
    group.add_argument(flag, default=default, metavar=metavar, help=words, **more).limits = limits


def check_limits(parser, arguments) -> None:
    for action in parser._actions:
        value, limits = getattr(arguments, action.dest, None), getattr(action, "limits", None)
        if value is not None and limits is not None:
            check_int(action.option_strings[0], value, **limits)


def switch(group, flag: str, words: str, **more) -> None:
    group.add_argument(flag, action="store_true", help=words, **more)


def several(group, flag: str, words: str, metavar: str, **more) -> None:
    group.add_argument(flag, nargs="+", metavar=metavar, help=words, **more)


def model_argument(parser, **more) -> None:
    parser.add_argument("model", **{"metavar": "MODEL", "help": MODEL, **more})


def out_option(group, default: str, words: str = "folder for the results") -> None:
    option(group, "--out", words, Path(default), "FOLDER")


def seed_option(group, subject: str) -> None:
    option(group, "--seed", f"seed of {subject}", 0, "N", limits={"minimum": 0})


def run_options(group, default_out: str, picture: str) -> None:
    out_option(group, default_out, "folder of the run")
    existing = group.add_mutually_exclusive_group()
    switch(existing, "--resume", "resume the run in that folder; with more --steps, extend it")
    switch(existing, "--force", "overwrite the run in that folder")
    switch(group, "--no-plot", f"draw no {picture}")
    switch(group, "--quiet", "print only the result, warnings and errors")


def refuse_without(condition, needed: str, **given) -> None:
    """Raise ValueError if an option in `given` has a value and `condition` is false."""
    for name, value in given.items():
        if value is not None and value is not False and not condition:
            raise ValueError(f"{flag_of(name)} can only be used together with {needed}")


def flag_of(name: str) -> str:
    return FLAGS.get(name, f"--{name.replace('_', '-')}")


def zero_is_none(cls, name: str) -> bool:
    """Return True if the value 0 of an option means None. The default of such a field is a number."""
    return statements(cls)[name]["optional"] is not None and cls.__dataclass_fields__[name].default is not None


def add_fields(group, cls, names, **defaults) -> None:
    """Add an option for each field in `names` of a dataclass of settings. The help shows `defaults`, if given."""
    for name in names:
        statement = statements(cls)[name]
        check, optional, words = statement["check"], statement["optional"], statement["means"]
        kind = kind_of(check)
        if len("".join(kind.get("choices", ()))) > MOST_IN_METAVAR or kind.keys() >= {"choices", "nargs"}:
            kind["metavar"], words = "KIND", f"{words}: {', '.join(kind['choices'])}"
        default = defaults.get(name, cls.__dataclass_fields__[name].default)
        if zero_is_none(cls, name):
            words += f"; 0: {optional}"
        if default is not False:
            words += f" (default: {optional if default is None else default})"
        group.add_argument(flag_of(name), dest=name, default=argparse.SUPPRESS, help=words, **kind)


def kind_of(check) -> dict:
    """Return the keyword arguments of add_argument for values that satisfy a check, a partial of a function."""
    if check.func is one_of:
        return {"choices": tuple(check.keywords["known"])}
    if check.func is repeated:
        entry = check.keywords["entry"]
        kind = {"type": count_or_all, "metavar": "N"} if entry is window else kind_of(entry)
        return {"nargs": "+", **kind}
    return KINDS[check.func]


def count_or_all(value: str) -> int | None:
    if value == "all":
        return None
    if not value.isdecimal():
        raise argparse.ArgumentTypeError(f"it must be a list of integers and 'all', not {value!r}")
    return int(value)


def given_fields(arguments, cls) -> dict:
    """Return the values of the fields of the dataclass `cls` that were given as options."""
    given = {name: value for name, value in vars(arguments).items() if name in statements(cls)}
    return {name: None if value == 0 and zero_is_none(cls, name) else value for name, value in given.items()}


@contextmanager
def in_terms_of_options(cls):
    """Return a context manager that replaces the field names of `cls` in error messages with the names of the options.

    A field name that is an English word, such as positions, is replaced only at the beginning of a sentence.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        message = str(error).removeprefix(f"{cls.__name__}: ")

        def flag(match):
            name, before = match[0], message[: match.start()]
            begins = not before or before.endswith(": ")
            return flag_of(name) if name in statements(cls) and ("_" in name or begins) else name

        raise type(error)(re.sub(r"(?<![\w/.-])\w+(?![\w/.-])", flag, message)) from None
