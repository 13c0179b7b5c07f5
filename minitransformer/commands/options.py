"""Options made of settings: what a field says of itself (see values.py), said to whoever types a command.

An option has its field's name, unless FLAGS has another for it, and is absent from the arguments unless it is given: so
the defaults are those of the dataclass, or of the checkpoint that a run goes on from. An error that names fields is put
into terms of options again.
"""

import argparse
import re
from contextlib import contextmanager

from minitransformer.values import number, one_of, statements, text, true_or_false, whole

FLAGS = {
    "n_layers": "--layers",
    "n_heads": "--heads",
    "d_model": "--width",
    "d_ff": "--ff",
    "n_kv_heads": "--kv-heads",
    "d_head": "--head-width",
    "betas": "--beta1 and --beta2",
    "sample_prompt": "--prompt",
    **{name: name for name in ("bias", "tie_embeddings", "trainable")},  # whose options say more, or the opposite
}
KINDS = {
    whole: {"type": int, "metavar": "N"},
    number: {"type": float, "metavar": "X"},
    text: {"metavar": "TEXT"},
    true_or_false: {"action": "store_true"},
}


def flag_of(name: str) -> str:
    """Return the option of a field."""
    return FLAGS.get(name, f"--{name.replace('_', '-')}")


def zero_is_none(cls, name: str) -> bool:
    """Whether an option's 0 stands for None: where None can be, and is not what stands there anyway."""
    return statements(cls)[name]["none"] is not None and cls.__dataclass_fields__[name].default is not None


def add_fields(group, cls, names, **defaults) -> None:
    """Add an option for each of these fields of a dataclass of settings.

    The help ends in the default: the field's, in words where it is None, unless the command has another for it.
    """
    for name in names:
        check, none, words = (statements(cls)[name][what] for what in ("check", "none", "means"))
        kind = {"choices": tuple(check.keywords["known"])} if check.func is one_of else KINDS[check.func]
        default = defaults.get(name, cls.__dataclass_fields__[name].default)
        if zero_is_none(cls, name):
            words += f"; 0: {none}"
        if default is not False:
            words += f" (default: {none if default is None else default})"
        group.add_argument(flag_of(name), dest=name, default=argparse.SUPPRESS, help=words, **kind)


def given_fields(arguments, cls) -> dict:
    """Return the fields of a dataclass of settings that options have given."""
    given = {name: value for name, value in vars(arguments).items() if name in statements(cls)}
    return {name: None if value == 0 and zero_is_none(cls, name) else value for name, value in given.items()}


@contextmanager
def in_terms_of_options(*classes):
    """Within the block, errors that name a field of these dataclasses name its option instead.

    Field names that are words of the language, such as positions, are taken for one only where a sentence begins.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        message = str(error)
        for cls in classes:
            message = message.removeprefix(f"{cls.__name__}: ")
        names = {name for cls in classes for name in statements(cls)}

        def option(match):
            name, before = match[0], message[: match.start()]
            begins = not before or before.endswith(": ")
            return flag_of(name) if name in names and ("_" in name or begins) else name

        raise type(error)(re.sub(r"(?<![\w/.-])\w+(?![\w/.-])", option, message)) from None
