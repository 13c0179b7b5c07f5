"""The results of a sweep, as numbers and as tables."""

from dataclasses import dataclass

import numpy as np

from gradcheck.front.tables import table
from minitransformer.experiments.emergence.forecast import Forecast
from minitransformer.experiments.emergence.jumps import Jump
from minitransformer.system.data import Data

REPORT_FILE = "emergence.json"

NOT_SHOWN = """\
Limits
  Sizes are compared at the same number of steps. With more steps, or another learning rate, a jump can occur at another
  size. Intervals contain only the variation over seeds, and are too narrow if there are few. A model that fails a test
  may have learned something that the test does not measure. A model that passes has the ability for questions of this
  length. Beyond these sizes and this text, the law is an extrapolation."""


@dataclass(frozen=True)
class Curve:
    """The scores of one capability at S sizes. Scores are means over the runs, after the last step."""

    capability: str
    exact: np.ndarray  # (S,) exact score on held-out questions
    loglik: np.ndarray  # (S,) log-likelihood of an answer token on held-out questions
    seen: np.ndarray  # (S,) exact score on training questions
    exact_ends: np.ndarray  # (S, 2) bootstrap intervals over the seeds
    loglik_ends: np.ndarray  # (S, 2)
    jumps: tuple[Jump, ...]


@dataclass(frozen=True)
class Shape:
    """A model of the comparison between shapes. Losses and exact scores are tuples (mean, low, high)."""

    n_layers: int
    d_model: int
    parameters: int
    loss: tuple[float, float, float]
    exact: dict
    seconds: float


@dataclass(frozen=True)
class EmergenceReport(Data):
    """The results of a sweep. print(report) shows them in tables."""

    names: tuple[str, ...]  # of the sizes, smallest first
    parameters: tuple[int, ...]
    curves: tuple[Curve, ...]
    law: Forecast | None
    no_law: str  # the reason if there is no law, otherwise ""
    shapes: tuple[Shape, ...]  # shallowest first
    runs: tuple[dict, ...]  # results of Plan.run
    failures: dict  # {name of a run: reason}

    def to_dict(self) -> dict:
        """Return the report as a JSON-serializable dictionary, without the runs, which have their own files."""
        data = super().to_dict()
        del data["runs"]
        return data

    def __str__(self):
        parts = [self.scores_table(), self.jumps_table(), self.law_table(), self.shapes_table(), NOT_SHOWN]
        if self.failures:
            lines = [f"  {name}: {why}" for name, why in self.failures.items()]
            parts.append("\n".join([f"{len(lines)} {'runs' if len(lines) > 1 else 'run'} failed", *lines]))
        return "\n\n".join(part for part in parts if part)

    def scores_table(self) -> str:
        rows = []
        for curve in self.curves:
            rows += [[""] * 7, [curve.capability, "parameters", "exact", "", "loglik", "seen", ""]]
            flagged = {n for jump in curve.jumps for n in jump.flagged}
            for i, n in enumerate(self.parameters):
                numbers = f"{curve.exact[i]:.3f}", interval(curve.exact_ends[i], ".3f"), f"{curve.loglik[i]:.3f}"
                rows.append([self.names[i], f"{n:,}", *numbers, f"{curve.seen[i]:.3f}", "jump" if n in flagged else ""])
        heading = "Scores by size: exact answers, log-likelihood of a token, and exact answers to seen questions"
        return "\n".join([heading, *table(rows, "<>>>>><")])

    def jumps_table(self) -> str:
        rows = []
        for curve in self.curves:
            rows += [] if curve.jumps else [(curve.capability, "none")]
            for jump in curve.jumps:
                scores = f"at {jump.parameters:,}, from {jump.before:.2f} to {jump.after:.2f}"
                smooth = f"from {jump.smooth_before:.2f} to {jump.smooth_after:.2f}"
                too = "it jumps too" if jump.smooth_jumps else "it does not jump, so the metric may be the reason"
                rows += [(curve.capability, f"{scores}; the probability of a token {smooth},"), ("", too)]
        heading = "Jumps: exact more than doubles from a tenth of the size, beyond the variation over seeds"
        return "\n".join([heading, *table(rows, "<")])

    def law_table(self) -> str:
        if self.law is None:
            return f"Scaling law: none; {self.no_law}"
        forecast, prediction = self.law, self.law.prediction
        law, ends = forecast.law, forecast.ends
        constants = [(name, f"{getattr(law, name):.4g}", interval(ends[name], ".4g")) for name in ends]
        predicted, measured, before = prediction.predicted, prediction.measured, prediction.no_better
        is_nearer = abs(predicted - measured) < abs(before - measured)
        rows = [
            ("predicted", f"{predicted:.4f}", interval(prediction.ends, ".4f")),
            ("measured", f"{measured:.4f}", f"error of the law {predicted - measured:+.4f}"),
            ("size before", f"{before:.4f}", f"error of this as a prediction {before - measured:+.4f}"),
        ]
        choices = [("C", "N*", "interval", "D*", "interval", "loss", "")]
        for c in forecast.choices:
            N, D = f"{c.parameters:.3g}", f"{c.characters:.3g}"
            sizes = N, interval(c.parameters_ends), D, interval(c.characters_ends)
            note = "" if c.measured_range else "beyond the trained range"
            choices.append((f"{c.budget:.1e}", *sizes, f"{c.loss:.3f}", note))
        lines = [
            "Scaling law of the text's loss in nats per character, L = E + A/N^alpha + B/D^beta",
            *table(constants),
            f"  typical error of the fit {forecast.error:.1%}",
            "",
            f"The largest size, {prediction.parameters:,}, predicted from the smaller ones",
            *table(rows, "<"),
            f"  the law was {'nearer' if is_nearer else 'no nearer'} than the loss of the next smaller size",
            "",
            "Compute-optimal: the best N and D for C = 6 N D operations",
            *table(choices, ">><><><"),
        ]
        if forecast.points[:, 2].min() > 100 * law.E:
            lines.insert(6, "  E cannot be distinguished from 0: these runs are too short, or too small")
        return "\n".join(lines)

    def shapes_table(self) -> str:
        if not self.shapes:
            return ""
        rows = [("shape", "parameters", "loss", *self.shapes[0].exact)]
        for shape in self.shapes:
            loss = f"{shape.loss[0]:.3f} {interval(shape.loss[1:], '.3f')}"
            scores = (f"{mean:.2f} {interval(ends, '.2f')}" for mean, *ends in shape.exact.values())
            rows.append((f"{shape.n_layers}x{shape.d_model}", f"{shape.parameters:,}", loss, *scores))
        heading = "Deeper against wider, at equal parameters: loss of the text, and fraction answered exactly"
        return "\n".join([heading, *table(rows, "<><")])


def interval(ends, form: str = ".2g") -> str:
    return f"{ends[0]:{form}} … {ends[1]:{form}}"
