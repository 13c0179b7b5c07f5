"""`python -m gradcheck curve`: its options, and the lesson that it shows without arguments."""

import difflib
from dataclasses import replace

import numpy as np

from gradcheck.call import Call
from gradcheck.cases import Case, ends_nothing, error_in_words, load_cases
from gradcheck.command_line import Parser, one_line, say, show, whole_number
from gradcheck.curve.drawing import draw
from gradcheck.curve.measurement import measure
from gradcheck.curve.picture import save
from gradcheck.report import GradientError

OK, WRONG, USAGE = 0, 1, 2


def softmax(x, *, wrong=False):
    """Compute softmax over the last axis. If `wrong`, treat it as elementwise."""
    e = np.exp(x - x.real.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        if wrong:
            return dy * y * (1 - y)
        return y * (dy - (dy * y).sum(axis=-1, keepdims=True))

    return y, backward


LESSON = [
    Case("softmax, right", lambda rng: Call(softmax, 2 * rng.normal(size=(3, 5)))),
    Case("softmax without its sum, wrong", lambda rng: Call(softmax, 2 * rng.normal(size=(3, 5)), wrong=True)),
]


def main(argv=None):
    """Run `python -m gradcheck curve` and return its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        cases = LESSON if arguments.target is None else [_select(arguments.target)]
        curves = [_measure(case, arguments.argument, arguments.seed) for case in cases]
        if arguments.out is not None:
            _save(curves, arguments.out)
    except (ImportError, LookupError, TypeError, ValueError, GradientError) as error:
        say(f"gradcheck curve: {one_line(error)}")
        return USAGE
    show("\n\n\n".join(draw(curve) for curve in curves))
    if arguments.out is not None:
        show(f"\n  The picture was saved to {arguments.out}.")
    if arguments.target is None:
        return OK
    return WRONG if curves[0].verdict == "wrong" else OK


def _parser():
    parser = Parser(
        prog="python -m gradcheck curve",
        description="Plot the error of numerical derivatives against their step: truncation on one side, rounding on "
        "the other, and the flat line of a wrong gradient.",
        epilog="Exit status: 0, or 1 if the curve of TARGET is the flat line of a wrong gradient, or 2 if there was "
        "nothing to draw or the picture could not be written.",
    )
    parser.add_argument(
        "target",
        metavar="TARGET",
        nargs="?",
        help="MODULE:CASE, as for `python -m gradcheck`, or a MODULE with one case (default: softmax, right and wrong)",
    )
    parser.add_argument("--argument", metavar="NAME", help="perturb only this argument or parameter (default: all)")
    parser.add_argument("--out", metavar="FILE", help="file of a picture to save, such as curve.png (needs matplotlib)")
    seed = whole_number(0, "a seed")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="seed of all random numbers (default: 0)")
    return parser


def _select(target):
    module, _, name = target.partition(":")
    cases = {case.name: case for case in load_cases(module)}
    if not name and len(cases) == 1:
        return next(iter(cases.values()))
    if not name:
        raise LookupError(f"{module} has {len(cases)} cases; name one, as in '{module}:{next(iter(cases))}'")
    if name not in cases:
        near = difflib.get_close_matches(name, cases, n=1, cutoff=0.0)[0]
        raise LookupError(f"{module} has no case {name!r}; the nearest is {near!r}")
    return cases[name]


def _measure(case, argument, seed):
    """Return the Curve of a case. Other exceptions become a ValueError that names it."""
    try:
        with ends_nothing():
            return replace(measure(case.call(np.random.default_rng(seed)), argument, seed), name=case.name)
    except (TypeError, ValueError, GradientError):
        raise
    except Exception as error:
        raise ValueError(f"{case.name} raises {error_in_words(error)}") from error


def _save(curves, path):
    try:
        save(curves, path)
    except ImportError as error:
        raise ImportError(
            "a picture needs matplotlib, which is not installed: install it with pip install matplotlib, "
            "or omit --out to show the curve in the terminal"
        ) from error
