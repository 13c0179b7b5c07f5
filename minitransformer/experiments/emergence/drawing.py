"""Pictures of a sweep. They need matplotlib (extra `app`).

capabilities.png      the sharp and the smooth score of each capability by size, with shaded jumps
scaling-law.png       the loss and the fitted law against parameters, and against characters of text
compute-optimal.png   contours of the loss according to the law, and the compute-optimal sizes
shapes.png            a comparison of deeper and wider models with equal numbers of parameters
"""

from pathlib import Path

import numpy as np

from minitransformer.experiments.emergence.report import EmergenceReport
from minitransformer.system import pictures as p


def draw_emergence(report: EmergenceReport, folder) -> list[Path]:
    """Draw the pictures of a report in `folder`, and return their paths. Raises MissingExtra without matplotlib."""
    figures = {"capabilities.png": capabilities_figure(report)}
    if report.law is not None:
        figures |= {"scaling-law.png": law_figure(report.law), "compute-optimal.png": optimal_figure(report.law)}
    if report.shapes:
        figures["shapes.png"] = shapes_figure(report.shapes)
    for name, figure in figures.items():
        p.save(figure, Path(folder) / name)
    return [Path(folder) / name for name in figures]


def new_panels(rows: int, columns: int, width: float, height: float, **options):
    """Return a figure and its panels (rows, columns), each `width` × `height` inches."""
    figure = p.new_figure(width * columns, height * rows)
    panels = figure.subplots(rows, columns, squeeze=False, **options)
    for axes in panels.flat:
        p.with_grid(axes)
    return figure, panels


def capabilities_figure(report):
    figure, panels = new_panels(2, len(report.curves), 2.9, 2.7, sharex=True, sharey="row")
    for (above, below), curve in zip(panels.T, report.curves, strict=True):
        for jump in curve.jumps:
            for axes in (above, below):
                axes.axvspan(jump.parameters / 10, jump.parameters, color=p.ORANGE, alpha=0.18, linewidth=0)
        p.draw_band(above, report.parameters, curve.exact, *curve.exact_ends.T, p.BLUE, "held out")
        p.draw_band(below, report.parameters, curve.loglik, *curve.loglik_ends.T, p.GREEN)
        above.plot(report.parameters, curve.seen, ":", color=p.VERMILION, linewidth=1, label="on trained questions")
        above.set_ylim(-0.04, 1.04)
        above.set_xscale("log")
        note = "smooth: jumps too" if any(jump.smooth_jumps for jump in curve.jumps) else "smooth: does not jump"
        p.label(above, curve.capability)
        p.label(below, note if curve.jumps else "", "parameters")
    panels[0, 0].set_ylabel("answered exactly (fraction)", color=p.INK, fontsize=9)
    panels[1, 0].set_ylabel("log-likelihood of an\nanswer token (nats)", color=p.INK, fontsize=9)
    p.legend(panels[0, 0], loc="upper left")
    title = "Scores by size, on held-out questions: means and 95 % intervals over the seeds"
    p.headline(figure, f"{title}. Shaded: the decade of a jump")
    return figure


def law_figure(forecast):
    """Draw the losses and the law, against N with a line per D, and against D with a line per N."""
    figure, panels = new_panels(1, 2, 5.2, 4.0, sharey=True)
    points, law, prediction = forecast.points, forecast.law, forecast.prediction
    for x, (axes, unit) in enumerate(zip(panels[0], ("characters", "parameters"), strict=True)):
        values = np.unique(points[:, 1 - x])
        for value, colour in zip(values, viridis(len(values)), strict=True):
            chosen = points[points[:, 1 - x] == value]
            xs = np.geomspace(points[:, x].min(), points[:, x].max(), 100)
            axes.plot(xs, law.loss(*((xs, value) if x == 0 else (value, xs))), color=colour, linewidth=1)
            axes.plot(chosen[:, x], chosen[:, 2], "o", color=colour, markersize=3.5, label=f"{value:,.0f} {unit}")
        if x == 0:
            interval = (prediction.predicted, *prediction.ends)
            draw_values(axes, [prediction.parameters], [interval], p.VERMILION, "predicted without it")
        axes.set_xscale("log")
        p.legend(axes, 7)
    p.label(panels[0, 0], "Loss and size", "parameters, N", "loss of the text (nats per character)")
    p.label(panels[0, 1], "Loss and text", "characters of text, D")
    formula = f"L = {law.E:.3g} + {law.A:.3g} / N^{law.alpha:.2f} + {law.B:.3g} / D^{law.beta:.2f}"
    p.headline(figure, f"{formula}: points are measured, lines are the law")
    return figure


def optimal_figure(forecast):
    """Draw the law over N and D, and the optimal N against the budget."""
    figure, panels = new_panels(1, 2, 5.2, 4.0)
    landscape, sizes = panels[0]
    law, points, choices = forecast.law, forecast.points, forecast.choices
    best = np.array([(choice.parameters, choice.characters) for choice in choices])
    shown = np.concatenate([points[:, :2], best])
    N, D = np.geomspace(shown.min(axis=0) / 1.3, shown.max(axis=0) * 1.3, 80).T
    image = landscape.contourf(N, D, law.loss(N[None, :], D[:, None]), levels=14, cmap="viridis_r")
    figure.colorbar(image, ax=landscape, label="loss by the law (nats per character)")
    landscape.plot(points[:, 0], points[:, 1], "o", color="white", markeredgecolor=p.INK, markersize=4, label="trained")
    landscape.plot(best[:, 0], best[:, 1], "D-", color=p.VERMILION, markersize=4, label="compute-optimal")
    landscape.legend(fontsize=8, labelcolor=p.INK, loc="upper left")
    p.label(landscape, "The best use of computation", "parameters, N", "characters of text, D")
    budgets = [choice.budget for choice in choices]
    ends = np.transpose([choice.parameters_ends for choice in choices])
    p.draw_band(sizes, budgets, best[:, 0], *ends, p.VERMILION)
    sizes.axvspan(6 * (points[:, 0] * points[:, 1]).max(), budgets[-1], color=p.GRID, alpha=0.6, linewidth=0)
    p.label(sizes, "The best size; grey: more than any run had", "budget, C = 6 N D (operations)", "parameters, N*")
    for axes in panels[0]:
        axes.set_xscale("log")
        axes.set_yscale("log")
    return figure


def shapes_figure(shapes):
    figure, panels = new_panels(1, 2, 5.2, 3.8)
    losses, scores = panels[0]
    xs = np.arange(len(shapes))
    draw_values(losses, xs, [shape.loss for shape in shapes], p.BLUE)
    capabilities = list(shapes[0].exact)
    for i, (name, colour) in enumerate(zip(capabilities, viridis(len(capabilities)), strict=True)):
        offset = (i - (len(capabilities) - 1) / 2) * 0.1
        draw_values(scores, xs + offset, [shape.exact[name] for shape in shapes], colour, name)
    for axes in panels[0]:
        axes.set_xticks(xs, [f"{shape.n_layers} × {shape.d_model}" for shape in shapes])
    scores.set_ylim(-0.04, 1.04)
    p.legend(scores, loc="center left", bbox_to_anchor=(1, 0.5))
    p.label(losses, "Loss of the text", "layers × width", "nats per character")
    p.label(scores, "Answered exactly", "layers × width", "fraction of held-out questions")
    smallest, largest = (f(shape.parameters for shape in shapes) for f in (min, max))
    title = f"Deeper against wider, {smallest:,} to {largest:,} parameters"
    p.headline(figure, f"{title}: means and 95 % intervals over the seeds")
    return figure


def draw_values(axes, xs, values, colour, name: str = "") -> None:
    means, low, high = np.array(values).T
    reach = [np.maximum(means - low, 0), np.maximum(high - means, 0)]
    axes.errorbar(xs, means, reach, fmt="D", color=colour, label=name, markersize=4, capsize=3, linewidth=1.2)


def viridis(count: int):
    from matplotlib import colormaps

    return [colormaps["viridis"](x) for x in np.linspace(0, 0.88, count)]
