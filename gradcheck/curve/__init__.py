"""Plot the error of a numerical derivative against the step size (see README.md)."""

from dataclasses import replace

import numpy as np

from gradcheck.call import Call
from gradcheck.cases import Case, ends_nothing, error_in_words, selected_cases
from gradcheck.command_line import OK, WRONG, Parser, show
from gradcheck.curve.drawing import draw, save
from gradcheck.curve.measurement import CENTRAL, COMPLEX, FORWARD, STEPS, Curve, measure
from gradcheck.report import GradientError

__all__ = ["measure", "Curve", "draw", "save", "softmax", "LESSON", "STEPS", "FORWARD", "CENTRAL", "COMPLEX"]


def softmax(x, *, wrong=False):
    """Compute softmax over the last axis. If `wrong`, backward ignores the common sum."""
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


def curve_parser():
    parser = Parser(
        "curve",
        "Plot the error of numerical derivatives against their step: truncation on one side, rounding\n"
        "on the other, and the flat line of a wrong gradient.",
        "Exit status: 0, or 1 if the curve of TARGET is the flat line of a wrong gradient, or 2 if there was\n"
        "nothing to draw or the picture could not be written.",
    )
    words = "MODULE:CASE, as for `python -m gradcheck`, or a MODULE with one case (default: softmax, right and wrong)"
    parser.add_argument("target", metavar="TARGET", nargs="?", help=words)
    parser.add_argument("--argument", metavar="NAME", help="perturb only this argument or parameter (default: all)")
    parser.add_argument("--out", metavar="FILE", help="image file to save, such as curve.png (needs matplotlib)")
    parser.add_seed()
    return parser


def curve(arguments):
    target, curves = arguments.target, []
    cases = LESSON if target is None else selected_cases(target)
    if target is not None and len(cases) > 1:
        raise ValueError(f"{target} has {len(cases)} cases; name one, as in '{target}:{cases[0].name}'")
    for case in cases:
        try:
            with ends_nothing():
                call = case.call(np.random.default_rng(arguments.seed))
                curves.append(replace(measure(call, arguments.argument, arguments.seed), name=case.name))
        except (TypeError, ValueError, GradientError):
            raise
        except Exception as error:
            raise ValueError(f"{case.name} raises {error_in_words(error)}") from error
    if arguments.out is not None:
        save(curves, arguments.out)
    show("\n\n\n".join(draw(curve) for curve in curves))
    if arguments.out is not None:
        show(f"\n  The picture was saved to {arguments.out}.")
    return WRONG if target is not None and curves[0].verdict == "wrong" else OK
