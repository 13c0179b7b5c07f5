"""Calls of the textbook's functions, in NumPy and in a browser, with all local variables of both."""

import json
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.resources import files
from types import FunctionType

import numpy as np

from minitransformer import first_steps, muon, one_page, optim
from minitransformer.book.chapters import PACKAGE
from minitransformer.book.observation import watched
from minitransformer.book.translation import encoded, file_of, translate
from minitransformer.cases import FUNCTIONS, ONE_PAGE
from minitransformer.layers import attention, dropout, multi_head_attention, positions
from minitransformer.layers.modern import delta_rule, partial_rotary, window
from minitransformer.module import plain

STATIC = files("minitransformer.book").joinpath("static")
TEXTBOOK = [
    *sorted(PACKAGE.glob("layers/*.py")),
    *sorted(PACKAGE.glob("layers/modern/*.py")),
    *(PACKAGE / name for name in ("losses.py", "optim.py", "muon.py", "one_page.py", "first_steps.py", "module.py")),
]
YARN = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64}
LINEAR = {"rope_type": "linear", "factor": 3.0}
TOLERANCE = 1e-12  # largest difference of two entries, in units of the largest entry if that exceeds 1
RUN = """
const [jobs, done] = [JSON.parse(arguments[0]), arguments[1]];
const number = (value) => (Number.isFinite(value) ? value : String(value));
const plain = (value) => {
  if (value instanceof NDArray) return { shape: value.shape, data: [...value.data].map(number) };
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "number" && !Number.isFinite(value)) return { shape: [], data: [number(value)] };
  return ["number", "boolean", "string"].includes(typeof value) ? value : null;
};
const recorded = (frame) => Object.fromEntries(Object.entries(frame).map(([name, value]) => [name, plain(value)]));
done(JSON.stringify(jobs.map(({ lines, changes, file, name, inputs, options, dy }) => changes.map((edits) => {
  py.seen = {};
  try {
    const book = compiled(lines, edits), named = Object.entries(options);
    const given = named.map(([name, one]) => [name, decoded(one, book)]);
    const returned = book[file][name](...decoded(inputs, book), ...(given.length ? [Object.fromEntries(given)] : []));
    if (dy !== null) returned.at(-1)(...decoded(dy, book));
    return Object.fromEntries(Object.entries(py.seen).map(([name, frames]) => [name, frames.map(recorded)]));
  } catch (error) {
    return String(error.stack);
  }
}))));
"""


@dataclass
class Called:
    """A call, and the variables of all functions that it runs in NumPy."""

    name: str
    function: FunctionType
    inputs: list
    options: dict
    dy: list | None = None  # the arguments of backward, or None if there is no backward
    lines: list = field(default_factory=list)

    def __post_init__(self):
        self.options = {name: as_data(value) for name, value in self.options.items()}
        its_own = [value.func for value in self.options.values() if isinstance(value, partial)]
        self.lines = translate(self.function, *its_own, dropout.dropout)

    def run(self) -> dict:
        """Return {qualified name: frames} of the functions of the textbook."""
        with plain(), watched(*TEXTBOOK) as seen, np.errstate(all="ignore"):
            returned = self.function(*self.inputs, **self.options)
            backward = returned[-1] if isinstance(returned, tuple) else None
            if callable(backward):
                if self.dy is None:
                    y, rng = returned[0], np.random.default_rng(len(self.name))
                    self.dy = [rng.normal(size=np.shape(one)) for one in (y if isinstance(y, tuple) else (y,))]
                backward(*self.dy)
        seen.pop("faster", None)  # a page has no twins
        return seen

    def job(self, changes) -> dict:
        """Return the same call for RUN, which runs it once for each of the changes, {line: JavaScript}."""
        return {
            "lines": self.lines,
            "changes": changes,
            "file": file_of(self.function),
            "name": self.function.__name__,
            "inputs": encoded(list(self.inputs)),
            "options": {name: encoded(value) for name, value in self.options.items()},
            "dy": encoded(self.dy and [np.asarray(one) for one in self.dy]),
        }


def as_data(value):
    """Replace a closure that applies dropout by a partial, which JSON can express."""
    if isinstance(value, FunctionType) and value.__qualname__ == "dropout_on_weights.<locals>.on_weights":
        return partial(dropout.dropout, keep=value.__closure__[0].cell_contents, p=0.3)
    if isinstance(value, partial):
        return partial(value.func, **{name: as_data(one) for name, one in value.keywords.items()})
    return value


def calls(seed) -> list[Called]:
    """Return calls of all translated functions, with random inputs and with their options."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.normal(size=shape)

    drawn = [(case.name, case.call(rng)) for case in FUNCTIONS]
    found = [
        Called(name, call.target, call.inputs, call.options)
        for name, call in drawn
        if call.target.__module__.startswith("minitransformer.l")  # layers and losses
    ]
    state, heads = [normal(3, 4), normal(3, 4), normal(3, 4), normal(3, 4) ** 2], normal(2, 5, 6)
    settings = {"lr": 0.1, "betas": (0.9, 0.85), "eps": 0.3, "weight_decay": 0.4, "t": 3}
    turned = {"positions": np.arange(5), "base": 100.0}
    step = {"lr": 0.5, "min_lr": 0.1, "warmup": 4, "steps": 9}
    muon_step = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}
    page = ONE_PAGE.call(rng)
    more = [
        (positions.frequencies, [8, 100.0, YARN], {}),
        (positions.frequencies, [8, 100.0, LINEAR], {}),
        (positions.sinusoidal_positions, [5, 6], {}),
        (positions.rotary, [heads], turned | {"scaling": YARN}),
        (positions.rotary, [heads], turned | {"scaling": LINEAR, "layout": "interleaved"}),
        (partial_rotary.partial_rotary, [heads], turned | {"channels": 4}),
        (attention.causal_mask, [3, 5], {}),
        (window.window_mask, [3, 5, 2], {}),
        (multi_head_attention.split, [normal(2, 5, 6), 3], {}),
        (multi_head_attention.merge, [normal(2, 3, 5, 2)], {}),
        (delta_rule.delta_step, [normal(3, 2, 4), normal(3, 4), normal(3, 4), normal(3, 2), normal(3), normal(3)], {}),
        (optim.adamw, state, settings),
        (optim.cosine_schedule, [2], step),
        (optim.cosine_schedule, [6], step),
        (optim.clipping_scale, [3.0, 2.0], {}),
        (muon.orthogonalize, [normal(3, 5)], {}),
        (muon.muon, state[:3], muon_step | {"nesterov": True}),
        (muon.muon, [one.T for one in state[:3]], muon_step | {"nesterov": False}),
        (one_page.adamw, state, {"t": 2}),
        (one_page.gpt, page.inputs, page.options),
        (first_steps.expression, [2.0, -3.0, 10.0], {}),
        (first_steps.fork, [normal(4)], {}),
        (first_steps.sum_and_share, [normal(3)], {}),
        (first_steps.neuron, [normal(3), normal(3), 0.5], {}),
        (first_steps.shares, [0.5, -0.2], {}),
        (first_steps.attend, [normal(2), normal(3, 2), normal(3, 2)], {}),
    ]
    return found + [Called(f"{function.__name__}, {k}", function, *given) for k, (function, *given) in enumerate(more)]


def in_browser(browser, jobs) -> list:
    """Return, for each job and each of its changes, {qualified name: frames}, or a message."""
    return json.loads(browser.execute_async_script(RUN, json.dumps(jobs)))


def faults(seen, shown) -> list[str]:
    """Return a line for each variable in NumPy that differs from, or is missing in, the browser."""
    found = []
    for name, frames in seen.items():
        if name.startswith(("check_", "require_")) or name.rpartition(".")[2].startswith("check_"):
            continue
        others = shown.get(name, [])
        if len(others) != len(frames):
            found.append(f"{name}: {len(frames)} calls, not {len(others)}")
            continue
        outside = {local for outer in shown if name.startswith(f"{outer}.") for local in shown[outer][0]}
        for frame, other in zip(frames, others, strict=True):
            for local, value in frame.names.items():
                if local in other:
                    found += [f"{name}: {local} {fault}" for fault in differences(value, other[local])]
                elif local not in outside and local != "_" and not callable(value):
                    found.append(f"{name}: {local} is not recorded")
    return found


def differences(value, shown):
    if isinstance(value, (list, tuple)) and isinstance(shown, list):
        if len(value) != len(shown):
            return [f"has {len(value)} parts, not {len(shown)}"]
        return [fault for pair in zip(value, shown, strict=True) for fault in differences(*pair)]
    if not isinstance(value, (bool, int, float, np.ndarray, np.generic, list, tuple)):
        return []
    value = np.asarray(value, float)
    try:
        shown = (
            np.array(shown["data"], float).reshape(shown["shape"])
            if isinstance(shown, dict)
            else np.asarray(shown, float)
        )
    except (TypeError, ValueError):
        return [f"is {shown!r}"]
    if value.shape != shown.shape:
        return [f"has shape {shown.shape}, not {value.shape}"]
    is_finite = np.isfinite(value)
    if not np.array_equal(value[~is_finite], shown[~is_finite], equal_nan=True):
        return ["has other entries that are not finite"]
    error = np.abs(value[is_finite] - shown[is_finite]).max(initial=0)
    return [f"is off by {error:.1e}"] * (not error <= TOLERANCE * np.abs(value[is_finite]).max(initial=1))


@cache
def page() -> str:
    scripts = "".join(
        f"<script>{STATIC.joinpath(name).read_text('utf-8')}</script>" for name in ("page.js", "arrays.js", "live.js")
    )
    return f'<!doctype html><meta charset="utf-8"><title>arrays</title>{scripts}'
