"""Read the file of a derivation: header, forward equations, and the student's lines. README.md has the syntax."""

import decimal
import re
from dataclasses import dataclass
from pathlib import Path

from minitransformer.book import notation
from minitransformer.book.arrays import NoValue, Unequal
from minitransformer.learn.derivations.judging import DRAWS
from minitransformer.learn.derivations.translation import readings, translated
from minitransformer.learn.derivations.world import DIGITS, Forward, World
from minitransformer.system.validation import looked_up

FOLDER = Path(__file__).parent / "exercises"


@dataclass(frozen=True)
class Derivation:
    name: str
    forward: Forward  # the forward pass
    asked: list  # names of the values whose gradients are to be derived
    lines: list  # (line number, text) of the student's lines


def exercises() -> dict[str, Path]:
    return {path.stem.partition("_")[2]: path for path in sorted(FOLDER.glob("*.txt"))}


def text_of(name: str) -> str:
    return looked_up(name, exercises(), "derivation").read_text("utf-8")


def read(path: Path) -> Derivation:
    """Read a derivation from a file. Raises ValueError if the header is invalid."""
    name, inputs, conditions, definitions, letters, asked = "", {}, [], [], {}, []
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: a derivation is UTF-8 text, but byte {error.start} is {error.object[error.start]:#x}"
        ) from None
    for at, line in enumerate(lines, 1):
        key, _, rest = line.strip().partition(" ")
        try:
            if key == "exercise":
                name = rest.strip()
            elif key == "given":
                words = (word.partition("_") for word in re.split(r"[\s,]+", translated(rest)) if word)
                inputs |= {given: tuple(axes) for given, _, axes in words}
            elif key == "where":
                conditions.append(next(iter(readings(translated(rest)))))
            elif key == "asked":
                asked = [word.removeprefix("d") for word in re.split(r"[\s,]+", translated(rest)) if word]
                break
            elif line.strip() and not line.startswith("#"):
                left, letters[left], right = definition(translated(line))
                definitions.append((left, right))
        except (ValueError, notation.NotationError) as error:
            raise ValueError(f"{path}: line {at}: {error}") from None
    else:
        raise ValueError(f"{path}: no line begins with 'asked'")
    if not (inputs and definitions):
        raise ValueError(f"{path}: the header must have a line 'given' and at least one forward equation")
    forward = Forward(inputs, conditions, definitions, letters)
    try:
        with decimal.localcontext(prec=DIGITS):
            values = World.drawn(forward, *DRAWS[0]).values
    except (NoValue, Unequal) as error:
        raise ValueError(f"{path}: the forward equations cannot be evaluated: {error}") from None
    if unknown := [each for each in asked if each not in values]:
        raise ValueError(
            f"{path}: asked d{unknown[0]}, but the forward pass has no {unknown[0]}; it has {', '.join(values)}"
        )
    return Derivation(name, forward, asked, list(enumerate(lines, 1))[at:])


def definition(text):
    equation = next(iter(readings(text)))
    left, *others = equation.sides
    base = left.base if isinstance(left, notation.Power) else left
    if equation.relations != ("=",) or not isinstance(base, notation.Symbol):
        raise ValueError(f"a forward equation has the form y = …, not {text}")
    name, _, letters = base.text.partition("_")
    return name if base is left else f"{name}²", letters, others[0]
