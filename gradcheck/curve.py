"""The step curve: the error of a numerical derivative against its step. The picture that belongs on the board.

    python -m gradcheck curve                          softmax, right and wrong, side by side
    python -m gradcheck curve MODULE:CASE              a case of your own, in the terminal
    python -m gradcheck curve MODULE:CASE --out c.png  and as a picture

Move all inputs (and parameters) of a function by t along a random direction v, and let L(t) = ⟨dy, y(x + t v)⟩. The
backward pass says that L′(0) = ⟨dx, v⟩. So do, each with its own error,

    forward differences    (L(h) − L(0)) / h           = L′ + h/2 · L″ + …           (1)
    central differences    (L(h) − L(−h)) / 2h         = L′ + h²/6 · L‴ + …          (2)
    the complex step       Im L(x + i h v) / h         = L′ − h²/6 · L‴ + …          (3)

What the picture shows, from the right (large steps) to the left, both axes logarithmic:

- **Truncation.** The function is not straight. The error of (1) falls along with h, slope 1; those of (2) and (3) with
  h², slope 2: a step ten times shorter, an error a hundred times smaller.
- **Rounding.** L(h) and L(0) are nearly equal numbers, each rounded to 16 digits. Their difference keeps an error of
  ε|L|, ε = 2⁻⁵³ ≈ 1e-16, and division by h blows it up: slope −1, and noisy. Where both lines meet is the best step:
  h ≈ √ε for (1), which leaves 8 digits, and h ≈ ∛ε for (2), which leaves 11.
- **No subtraction, no rounding.** In (3) the derivative is the imaginary part by itself. Nothing cancels, so h may be
  1e-16 or 1e-200, and the error stays at the last digit. It asks for a forward pass that computes with complex numbers
  as analysis does: no abs, no comparison of the imaginary part, no conjugate. Where it does not, the curve says so.
- **A wrong gradient is a flat line.** No step brings the error below a certain height, for any of the three: they
  agree with each other, and disagree with the backward pass. The height is the size of the mistake. At a kink,
  where the slope jumps, forward and central differences have flat lines of different heights; the caption says so.

A tolerance is a horizontal line in this picture. It must pass above the bottom of the valley and below the flat line:
at 1e-6 or so there is a wide gap for it, in float64. A step is a vertical line, and 1e-5 a good place for (2).
"""

import argparse
import difflib
import math
import sys
import textwrap
import warnings
from dataclasses import dataclass, replace

import numpy as np

from gradcheck.call import Call, parameters_of
from gradcheck.cases import Case, load_cases
from gradcheck.contract import arguments_of, run
from gradcheck.parameters import borrowed, to_float64
from gradcheck.report import GradientError

STEPS = np.logspace(-1, -16, 61)
FLOOR = 1e-17  # where an error of exactly zero is drawn
AGREES = 1e-6  # the relative error that the best step must reach, as in gradcheck.check

OK, WRONG, USAGE = 0, 1, 2
FORWARD, CENTRAL, COMPLEX = "forward differences", "central differences", "complex step"
SYMBOLS = {FORWARD: "+", CENTRAL: "o", COMPLEX: "*"}
COLOURS = {FORWARD: "#c2571a", CENTRAL: "#1f5fa8", COMPLEX: "#2e7d32"}


@dataclass(frozen=True)
class Curve:
    """Numerical derivatives along one direction, for each method and each of STEPS, beside what backward gives.

    `derivatives` maps a method to an array like STEPS; `analytic` is ⟨dx, v⟩; `obstacle` says why there is no complex
    step, if there is none.
    """

    name: str
    argument: str
    derivatives: dict
    analytic: float
    obstacle: str | None = None

    @property
    def numeric(self):
        """The best that central differences give: where neighbouring steps agree best."""
        return _settle(self.derivatives[CENTRAL])[0]

    @property
    def size(self):
        """What errors are relative to."""
        values = (abs(value) for value in (self.analytic, self.numeric) if math.isfinite(value))
        return max(np.finfo(np.float64).tiny, *values)

    def error(self, method):
        """Return |numeric − analytic| / size for each step."""
        return np.abs(self.derivatives[method] - self.analytic) / self.size

    def best(self, method):
        """Return the smallest error and the step that has it."""
        error = self.error(method)
        i = int(np.argmin(np.where(np.isfinite(error), error, np.inf)))
        return float(error[i]), float(STEPS[i])

    @property
    def height(self):
        """The error of the best numerical derivative: the bottom of the valley, or the height of the flat line."""
        return abs(self.numeric - self.analytic) / self.size

    @property
    def one_sided(self):
        """The derivatives to the left and to the right, or None where they are the same."""
        right, uncertainty = _settle(self.derivatives[FORWARD])
        jump = 2 * abs(right - self.numeric)
        if jump <= max(1e-4 * self.size, 100 * uncertainty):
            return None
        return 2 * self.numeric - right, right

    @property
    def verdict(self):
        """`right`, `wrong`, `at a kink`, or `cannot tell`.

        Wrong is a flat line: neighbouring steps agree with each other a hundred times better than with backward. At a
        kink forward and central differences have flat lines of different heights.
        """
        if not math.isfinite(self.analytic):
            return "wrong"
        if self.one_sided is not None:
            return "at a kink"
        if self.height <= AGREES:
            return "right"
        spread = _settle(self.derivatives[CENTRAL])[1] / self.size
        return "wrong" if spread <= self.height / 100 else "cannot tell"

    @property
    def caption(self):
        """One sentence on what the picture shows."""
        both = f"backward gives {self.analytic:.6g}, central differences {self.numeric:.6g}"
        if self.verdict == "right":
            lowest, step = self.best(CENTRAL)
            return f"Right along this direction: central differences come as close as {lowest:.0e}, at h = {step:.0e}."
        if not math.isfinite(self.analytic):
            return f"Wrong: {both}."
        if self.verdict == "wrong":
            return f"Wrong: a flat line at {self.height:.1e}, whatever the method and the step: {both}."
        if self.verdict == "at a kink":
            left, right = (f"{slope:.6g}" for slope in self.one_sided)
            return (
                f"At a kink: the slope is {left} to the left, {right} to the right, and backward gives "
                f"{self.analytic:.6g}. One direction cannot tell; gradcheck.check looks at each entry."
            )
        return f"Cannot tell: neither a valley nor a flat line, too much rounding: {both}."

    def slope(self, method):
        """Return the measured exponent p of a truncation error hᵖ, or None if no stretch of the curve shows one.

        It is fitted to the distance from the best numerical value, so that a wrong backward pass does not hide it.
        """
        best = self.derivatives[COMPLEX][-1] if COMPLEX in self.derivatives else self.numeric
        distance = np.abs(self.derivatives[method] - best)
        doubt = 1e-13 * self.size
        if method != COMPLEX:
            rounding = (STEPS >= 1e-12) & (STEPS <= 1e-9)
            doubt = 30 * np.median(distance[rounding] * STEPS[rounding]) / STEPS + doubt
        clear = (STEPS <= 0.03) & (STEPS >= 1e-6) & (distance > doubt)
        if self.one_sided is not None or clear.sum() < 4:
            return None
        x, y = np.log10(STEPS[clear]), np.log10(distance[clear])
        power, height = np.polyfit(x, y, 1)
        is_straight = np.max(np.abs(y - power * x - height)) < 0.2  # no kink within reach
        return float(power) if is_straight else None


def measure(call, argument=None, seed=0):
    """Return the Curve of a Call, along a random direction through all its arguments, or through the one named.

    Raises ValueError for an argument that there is not, and what `gradcheck.check` raises.
    """
    call = call.copy()
    rng = np.random.default_rng([seed, 1])
    with borrowed(call.target), np.errstate(all="ignore"):
        to_float64(call.target)
        arguments = arguments_of(call)
        names = [a.name for a in arguments]
        if argument is not None and argument not in names:
            near = difflib.get_close_matches(argument, names, n=1, cutoff=0.0)[0]
            raise ValueError(f"{call.name} has no argument {argument!r}; the nearest is {near!r}")
        y, dy, gradients = run(call, arguments, None, rng)
        chosen = [(a, g) for a, g in zip(arguments, gradients, strict=True) if argument in (None, a.name)]
        direction = [rng.standard_normal(a.array.shape) for a, _ in chosen]
        length = math.sqrt(sum(np.vdot(v, v) for v in direction))
        moves = [(a, v / length) for (a, _), v in zip(chosen, direction, strict=True)]
        claims = [np.vdot(g, v) for (_, g), (_, v) in zip(chosen, moves, strict=True) if g is not None]
        derivatives, obstacle = _derivatives(_Line(call, dy, moves), float(np.vdot(dy, y)))
    return Curve(call.name, argument or "all arguments", derivatives, float(sum(claims)), obstacle)


class _Line:
    """L(t) = ⟨dy, y(x + t v)⟩, for real and for imaginary moves t."""

    def __init__(self, call, dy, moves):
        self.call = call
        self.dy = dy
        self.moves = moves

    def real(self, t):
        """Return L(t)."""
        here = [argument.array.copy() for argument, _ in self.moves]
        try:
            for argument, v in self.moves:
                argument.array[...] += t * v
            return float(np.sum(self.dy * self.call.evaluate()[0]))
        finally:
            for (argument, _), array in zip(self.moves, here, strict=True):
                argument.array[...] = array

    def imaginary(self, h):
        """Return Im L(i h)."""
        directions = {id(argument.array): v for argument, v in self.moves}

        def moved(value):
            is_real = isinstance(value, np.ndarray) and value.dtype.kind == "f"
            return value + 1j * h * directions.get(id(value), 0.0) if is_real else value

        with borrowed(self.call.target):
            for parameter in parameters_of(self.call.target).values():
                parameter.data = moved(parameter.data)
            y, _ = Call(self.call.target, *map(moved, self.call.inputs), **self.call.options).evaluate()
        return float(np.sum(self.dy * np.imag(y)))


def _derivatives(line, here):
    """Return {method: derivative for each step}, and why the complex step is missing, if it is."""
    ahead = np.array([line.real(h) for h in STEPS])
    behind = np.array([line.real(-h) for h in STEPS])
    forward = (ahead - here) / STEPS  # (1)
    central = (ahead - behind) / (2 * STEPS)  # (2)
    derivatives = {FORWARD: forward, CENTRAL: central}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            complex_step = np.array([line.imaginary(h) for h in STEPS]) / STEPS  # (3)
    except Exception as error:
        return derivatives, f"complex numbers make it raise {type(error).__name__}: {error}"
    (right, _), (numeric, spread) = _settle(derivatives[FORWARD]), _settle(derivatives[CENTRAL])
    exact = complex_step[-1]
    jump = abs(right - numeric)  # at a kink the complex step gives one of its sides
    if not abs(exact - numeric) <= jump + 1e-5 * max(abs(exact), abs(numeric)) + 10 * spread:
        return derivatives, f"complex numbers give {exact:.6g}, central differences {numeric:.6g}"
    return derivatives | {COMPLEX: complex_step}, None


def _settle(derivatives):
    """Return the derivative where neighbouring steps agree best, and how well: three in a row, as two may by chance.

    Very short steps are left out. There x + h is x, and all agree on zero.
    """
    gaps = np.abs(np.diff(derivatives))
    spreads = np.maximum(gaps[:-1], gaps[1:])
    spreads = np.where(np.isfinite(spreads) & (STEPS[1:-1] >= 1e-9), spreads, np.inf)
    i = int(np.argmin(spreads))
    return float(derivatives[i + 1]), float(spreads[i])


# Drawing. In the terminal a column is a fifth of a decade of h and a row one decade of the error.

COLUMNS = 76
TOP, BOTTOM = 1, -17  # decades of the error
ROWS = TOP - BOTTOM + 1


def draw(curve):
    """Return the curve as text."""
    grid = [[" "] * COLUMNS for _ in range(ROWS)]
    for method in (m for m in (FORWARD, CENTRAL, COMPLEX) if m in curve.derivatives):
        for h, error in zip(STEPS, curve.error(method), strict=True):
            if math.isfinite(error):
                row = round(TOP - math.log10(min(max(error, FLOOR), 10.0**TOP)))
                column = round((math.log10(h) + 16) / 15 * (COLUMNS - 1))
                grid[row][column] = SYMBOLS[method]
    lines = [f"{curve.name}: error of the derivative along a random direction through {curve.argument}", ""]
    for row, cells in enumerate(grid):
        label = f"1e{TOP - row:+03d}" if row % 2 else ""
        lines.append(f"{label:>7} │{''.join(cells)}".rstrip())
    lines.append(" " * 8 + "└" + "─" * COLUMNS)
    ticks = [" "] * (COLUMNS + 4)
    for decade in range(-16, 0, 3):
        column = round((decade + 16) / 15 * (COLUMNS - 1))
        ticks[column : column + 5] = f"1e{decade:+03d}"
    lines.append(" " * 7 + "".join(ticks).rstrip() + "  step h")
    lines.append("")
    lines += [f"  {SYMBOLS[method]} {method:<20} {describe(curve, method)}" for method in curve.derivatives]
    notes = [curve.caption]
    if curve.obstacle:
        notes.insert(0, f"No complex step: the forward pass is not complex-safe ({curve.obstacle}).")
    for note in notes:
        lines += ["", *textwrap.wrap(note, COLUMNS + 12, initial_indent="  ", subsequent_indent="  ")]
    return "\n".join(lines)


def describe(curve, method):
    """Return what one method's errors do: with large steps, with small ones, and at best."""
    slope = curve.slope(method)
    truncation = f"truncation ∝ h^{slope:.2f}" if slope is not None else "no straight line of truncation"
    rounding = "no rounding" if method == COMPLEX else "rounding ∝ 1/h"
    if curve.verdict != "right":
        return f"{truncation}, {rounding}"
    lowest, step = curve.best(method)
    return f"{truncation}, {rounding}; lowest {lowest:.0e} at h = {step:.0e}"


def save(curves, path):
    """Draw curves side by side into a PNG (or whatever the ending of the path asks for). Needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4 * len(curves) + 0.6, 5.6), layout="constrained")
    axes = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axis, curve in zip(axes, curves, strict=True):
        _plot(axis, curve)
    axes[0].set_ylabel("relative error |numeric − backward|")
    figure.savefig(path, dpi=150)


def _plot(axis, curve):
    for method in curve.derivatives:
        error = np.maximum(curve.error(method), FLOOR)
        broad = method == COMPLEX  # it lies beneath central differences where both are truncation
        style = {"ms": 5, "lw": 3, "alpha": 0.55, "zorder": 1} if broad else {"ms": 3, "lw": 1.2}
        axis.loglog(STEPS, error, "o-", color=COLOURS[method], label=method, **style)
    if curve.verdict == "right":
        _annotate_branches(axis, curve)
    elif curve.verdict == "wrong" and math.isfinite(curve.height):
        _annotate_flat_line(axis, curve)
    axis.set(xlim=(6e-17, 0.2), ylim=(FLOOR / 5, 1e5), xlabel="step h", title=curve.name)
    axis.grid(color="#e4e4e4", lw=0.5)
    axis.set_axisbelow(True)
    axis.legend(loc="upper center", fontsize=9, ncols=len(curve.derivatives), columnspacing=1.0, handlelength=1.2)
    notes = [curve.caption]
    if curve.obstacle:
        notes.append(f"No complex step: the forward pass is not complex-safe ({curve.obstacle}).")
    text = "\n".join(line for note in notes for line in textwrap.wrap(note, 88))
    axis.text(0.5, -0.13, text, transform=axis.transAxes, ha="center", va="top", fontsize=9)


def _annotate_branches(axis, curve):
    """Lay a thin line of exactly the slope that theory gives beside each branch, with its law written along it."""
    for method, laws in (
        (FORWARD, (("∝ h", 1, 1e-3, 1e-1), ("∝ 1/h", -1, 1e-13, 1e-10))),
        (CENTRAL, (("∝ h²", 2, 1e-3, 1e-1),)),
    ):
        error = curve.error(method)
        for law, power, low, high in laws:
            if power > 0 and curve.slope(method) is None:
                continue
            branch = (low <= STEPS) & (high >= STEPS) & (error > 0)
            height = np.exp(np.median(np.log(error[branch]) - power * np.log(STEPS[branch])))
            above = 12 if power != 2 else 1 / 12
            ends = np.array([low, high])
            line = above * height * ends**power
            axis.loglog(ends, line, "--", color=COLOURS[method], lw=0.9)
            axis.annotate(
                law,
                (math.sqrt(low * high), math.sqrt(line[0] * line[1])),
                xytext=(-4, 4) if power != 2 else (6, -10),
                textcoords="offset points",
                ha="right" if power == 1 else "left",
                color=COLOURS[method],
                fontsize=12,
            )
    axis.text(1e-16, 100, "← rounding", color="#555555", ha="left", fontsize=10)
    axis.text(0.1, 100, "truncation →", color="#555555", ha="right", fontsize=10)
    if COMPLEX in curve.derivatives:
        axis.text(1e-12, 4e-16, "nothing subtracted, nothing lost", color=COLOURS[COMPLEX], ha="center", va="bottom")


def _annotate_flat_line(axis, curve):
    axis.axhline(curve.height, color="#b00020", lw=7, alpha=0.15)
    size = f"{curve.height:.0%}" if curve.height >= 0.01 else f"{curve.height:.0e}"
    axis.annotate(
        f"a flat line: off by {size}, whatever the step",
        (1e-7, curve.height),
        xytext=(0, -18),
        textcoords="offset points",
        ha="center",
        color="#b00020",
        fontsize=11,
    )


# The command


def softmax(x, *, wrong=False):
    """Softmax over the last axis; `wrong`: differentiated as if it worked on each entry by itself."""
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
        curves = [
            replace(
                measure(case.call(np.random.default_rng(arguments.seed)), arguments.argument, arguments.seed),
                name=case.name,
            )
            for case in cases
        ]
        if arguments.out is not None:
            _save(curves, arguments.out)
    except (ImportError, LookupError, TypeError, ValueError, OSError, GradientError) as error:
        print(f"gradcheck curve: {error}", file=sys.stderr)
        return USAGE
    print("\n\n\n".join(draw(curve) for curve in curves))
    if arguments.out is not None:
        print(f"\n  The picture is in {arguments.out}.")
    if arguments.target is None:
        return OK
    return WRONG if curves[0].verdict == "wrong" else OK


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m gradcheck curve",
        description="Draw the error of numerical derivatives against their step: truncation on one side, rounding on "
        "the other, and the flat line of a wrong gradient.",
        epilog="Exit status: 0, or 1 if the curve of TARGET is the flat line of a wrong gradient, or 2 if there was "
        "nothing to draw.",
    )
    parser.add_argument(
        "target",
        metavar="TARGET",
        nargs="?",
        help="MODULE:CASE, as for `python -m gradcheck`, or a MODULE with one case; left out: softmax, right and wrong",
    )
    parser.add_argument("--argument", metavar="NAME", help="move this argument or parameter alone (default: all)")
    parser.add_argument("--out", metavar="FILE", help="save a picture as well, a PNG (needs matplotlib)")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="decides all that is random (default: 0)")
    return parser


def _seed(text):
    seed = int(text)
    if seed < 0:
        raise argparse.ArgumentTypeError(f"a seed is 0 or more, not {seed}")
    return seed


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


def _save(curves, path):
    try:
        save(curves, path)
    except ImportError as error:
        raise ImportError(
            "a picture needs matplotlib, which is not installed: install it with pip install matplotlib, "
            "or leave out --out to have the curve in the terminal"
        ) from error
