"""What a sweep found: as numbers, as tables for people, and with what it does not show."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minitransformer.analysis.data import fields_as_data
from minitransformer.experiments.emergence.forecast import Forecast
from minitransformer.experiments.emergence.jumps import Jump
from minitransformer.files import write_atomically
from minitransformer.system.tables import table

REPORT_FILE = "emergence.json"

NOT_SHOWN = """\
What this does not show
  Sizes are compared at the same number of steps: with more, or another learning rate, a jump can come at another
  size. Intervals know of the seeds alone, and are narrow where there are few. A model that fails a test may still have
  learned what the test cannot see; one that passes has shown it for questions of this length. The law is a
  description of these sizes on this text, and an extrapolation beyond them."""


@dataclass(frozen=True)
class Curve:
    """The scores of one capability against the size, means over the runs, after the last step.

    exact, loglik, seen    (S,): see capabilities.py; all but `seen` are of questions that were held out
    exact_ends, loglik_ends   (S, 2): bootstrap intervals over the seeds
    jumps                  where exact more than doubles from a tenth of the size: see jumps.py
    """

    capability: str
    exact: np.ndarray
    loglik: np.ndarray
    seen: np.ndarray
    exact_ends: np.ndarray
    loglik_ends: np.ndarray
    jumps: tuple[Jump, ...]


@dataclass(frozen=True)
class Shape:
    """A model among others of as many parameters. loss, and the exact score of each capability: (mean, low, high)."""

    n_layers: int
    d_model: int
    parameters: int
    loss: tuple[float, float, float]
    exact: dict
    seconds: float


@dataclass(frozen=True)
class EmergenceReport:
    """All that a sweep found. print(report) shows it in tables.

    names, parameters   of each size, smallest first
    curves              one Curve for each capability
    law, no_law         a Forecast (see forecast.py), or None and the reason
    shapes              deeper against wider, shallowest first
    runs                what train_one returned, of every run
    failures            {name of a run: why it failed}
    """

    names: tuple[str, ...]
    parameters: tuple[int, ...]
    curves: tuple[Curve, ...]
    law: Forecast | None
    no_law: str
    shapes: tuple[Shape, ...]
    runs: tuple[dict, ...]
    failures: dict

    def to_dict(self) -> dict:
        """Return everything but the runs, which have files of their own, as a dictionary that JSON can hold."""
        data = fields_as_data(self)
        del data["runs"]
        return data | {"environments": self.environments()}

    def environments(self) -> list[dict]:
        """Return the different environments in which the runs were trained; within one, a run repeats to the bit."""
        environments = []
        for run in self.runs:
            environment = {"engine": "on"} | run["environment"]  # older runs do not say: it could not be off
            if environment not in environments:
                environments.append(environment)
        return environments

    def save(self, folder: Path) -> None:
        """Write the report as JSON to the folder, atomically."""
        text = json.dumps(self.to_dict(), indent=1)
        write_atomically(folder / REPORT_FILE, lambda file: file.write(text.encode() + b"\n"))

    def __str__(self):
        parts = [self.scores_table(), self.jumps_table(), self.law_table(), self.shapes_table(), NOT_SHOWN]
        if len(self.environments()) > 1:
            parts.append(
                f"The runs come from {len(self.environments())} different environments, and the last bits of a number\n"
                f"may depend on which: {REPORT_FILE} lists them."
            )
        if self.failures:
            lines = [f"  {name}: {why}" for name, why in self.failures.items()]
            several = "runs" if len(lines) > 1 else "run"
            parts.append("\n".join([f"{len(lines)} {several} failed", *lines]))
        return "\n\n".join(part for part in parts if part)

    def scores_table(self) -> str:
        """Return the scores of every capability, in a row for each size."""
        lines = [
            "What comes with size: of questions held out, the fraction answered exactly, with its interval over the",
            "seeds; then the log-likelihood of an answer token, in nats; and what is exact of questions trained on",
        ]
        rows = []
        for curve in self.curves:
            rows += [[""] * 7, [curve.capability, "parameters", "exact", "", "loglik", "seen", ""]]
            columns = curve.exact, curve.exact_ends, curve.loglik, curve.seen
            for name, n, exact, ends, loglik, seen in zip(self.names, self.parameters, *columns, strict=True):
                flagged = "jump" if any(n in jump.flagged for jump in curve.jumps) else ""
                shown = f"{exact:.3f}", f"{ends[0]:.3f} … {ends[1]:.3f}", f"{loglik:.3f}", f"{seen:.3f}"
                rows.append([name, f"{n:,}", *shown, flagged])
        return "\n".join([*lines, *table(rows, "<>>>>><")])

    def jumps_table(self) -> str:
        """Return, in words, where a capability jumped, and whether the smooth score did too."""
        rows = []
        for curve in self.curves:
            if not curve.jumps:
                rows.append((curve.capability, "none"))
            for jump in curve.jumps:
                whose = "which jumps too" if jump.smooth_jumps else "which does not: the jump may be the metric's alone"
                scores = f"at {jump.parameters:,}, from {jump.before:.2f} to {jump.after:.2f}"
                smooth = f"from {jump.smooth_before:.2f} to {jump.smooth_after:.2f}"
                rows += [(curve.capability, f"{scores}; the probability of a token {smooth},"), ("", whose)]
        heading = "Jumps: exact more than doubles from a tenth of the size, beyond what the seeds explain"
        return "\n".join([heading, *table(rows, "<")])

    def law_table(self) -> str:
        """Return the scaling law, its prediction and the compute-optimal choices."""
        if self.law is None:
            return f"Scaling law: none; {self.no_law}"
        forecast, prediction = self.law, self.law.prediction
        lines = ["Scaling law of the text's loss in nats per character, L = E + A/N^alpha + B/D^beta"]
        lines += table(
            (name, f"{getattr(forecast.law, name):.4g}", f"{low:.4g} … {high:.4g}")
            for name, (low, high) in forecast.ends.items()
        )
        if forecast.points[:, 2].min() > 100 * forecast.law.E:
            lines.append("  E cannot be told from 0: these runs are too short, or too small, to see what remains")
        predicted, measured, before = prediction.predicted, prediction.measured, prediction.no_better
        as_before = f"off by {before - measured:+.4f}, had it been no better than the size before"
        choices = [("C", "N*", "interval", "D*", "interval", "loss", "")]
        for c in forecast.choices:
            N, D = f"{c.parameters:.3g}", f"{c.characters:.3g}"
            note = "" if c.measured_range else "beyond what was trained"
            choices.append(
                (f"{c.budget:.1e}", N, brief(c.parameters_ends), D, brief(c.characters_ends), f"{c.loss:.3f}", note)
            )
        lines += [
            f"  typical error of the fit {forecast.error:.1%}",
            "",
            f"The largest size, {prediction.parameters:,}, predicted from the smaller ones",
            *table(
                [
                    ("predicted", f"{predicted:.4f}", "{:.4f} … {:.4f}".format(*prediction.ends)),
                    ("measured", f"{measured:.4f}", f"off by {predicted - measured:+.4f}"),
                    ("as before", f"{before:.4f}", as_before),
                ],
                "<",
            ),
            "  so it was nearer than no law at all" if prediction.is_nearer else "  so the law predicted nothing here",
            "",
            "Compute-optimal: the best N and D for C = 6 N D operations",
            *table(choices, ">><><><"),
        ]
        return "\n".join(lines)

    def shapes_table(self) -> str:
        """Return the comparison of shapes."""
        if not self.shapes:
            return ""
        names = list(self.shapes[0].exact)
        rows = [("shape", "parameters", "loss", *names)]
        for shape in self.shapes:
            loss = f"{shape.loss[0]:.3f} {shape.loss[1]:.3f} … {shape.loss[2]:.3f}"
            scores = (f"{m:.2f} {low:.2f} … {high:.2f}" for m, low, high in shape.exact.values())
            rows.append((f"{shape.n_layers}x{shape.d_model}", f"{shape.parameters:,}", loss, *scores))
        heading = "Deeper against wider, at equal parameters: the loss of the text, and the fraction answered exactly"
        return "\n".join([heading, *table(rows, "<><")])


def brief(ends) -> str:
    """Return an interval."""
    return f"{ends[0]:.2g} … {ends[1]:.2g}"
