"""Pictures of a sweep. They need matplotlib, from the extra `app`.

    capabilities.png      each capability by size: the sharp score above, the smooth one below, jumps shaded
    scaling-law.png       the loss against parameters, and against characters of text, with the fitted law
    compute-optimal.png   the loss of the law as contours, with the compute-optimal sizes
    shapes.png            deeper models compared with wider ones, at equal parameters

The colours are those of viridis and pictures.py, which people with any colour vision can distinguish.
"""

from pathlib import Path

import numpy as np

from minitransformer.experiments.emergence.report import EmergenceReport
from minitransformer.system.pictures import (
    BLUE,
    GREEN,
    GRID,
    INK,
    ORANGE,
    VERMILION,
    headline,
    label,
    new_figure,
    save,
    with_grid,
)

MARKERS = "osD^vP*X"
SMALL_NOTE = {"xy": (0.97, 0.03), "xycoords": "axes fraction", "ha": "right", "fontsize": 8, "color": INK}
LEGEND = {"frameon": False, "labelcolor": INK, "fontsize": 8}


def draw_emergence(report: EmergenceReport, folder) -> list[Path]:
    """Draw a report's pictures in the folder, atomically, and return their paths.

    Pictures of the law and of the shapes are drawn only if the report contains them. Raises MissingExtra without
    matplotlib, and OSError if a picture cannot be written.
    """
    figures = {"capabilities.png": capabilities_figure(report)}
    if report.law is not None:
        figures |= {"scaling-law.png": law_figure(report.law), "compute-optimal.png": optimal_figure(report.law)}
    if report.shapes:
        figures["shapes.png"] = shapes_figure(report.shapes)
    for name, figure in figures.items():
        save(figure, Path(folder) / name)
    return [Path(folder) / name for name in figures]


def new_panels(rows: int, columns: int, width: float, height: float, **options):
    """Return a figure and its panels (rows, columns), `width` × `height` inches each."""
    figure = new_figure(width * columns, height * rows)
    panels = figure.subplots(rows, columns, squeeze=False, **options)
    for axes in panels.flat:
        with_grid(axes)
    return figure, panels


def capabilities_figure(report):
    """Draw each capability's scores by size: exact above, log-likelihood below."""
    figure, panels = new_panels(2, len(report.curves), 2.9, 2.7, sharex=True, sharey="row")
    for (above, below), curve in zip(panels.T, report.curves, strict=True):
        for jump in curve.jumps:
            for axes in (above, below):
                axes.axvspan(jump.parameters / 10, jump.parameters, color=ORANGE, alpha=0.18, linewidth=0)
            text = "smooth: jumps too" if jump.smooth_jumps else "smooth: does not jump"
            below.annotate(text, va="bottom", **SMALL_NOTE)
        draw_score(above, report.parameters, curve.exact, curve.exact_ends, BLUE)
        draw_score(below, report.parameters, curve.loglik, curve.loglik_ends, GREEN)
        dotted = {"color": VERMILION, "linewidth": 1, "linestyle": ":"}
        above.plot(report.parameters, curve.seen, label="on trained questions", **dotted)
        above.set_ylim(-0.04, 1.04)
        above.set_xscale("log")
        label(above, curve.capability)
        label(below, x="parameters")
    label(panels[0, 0], report.curves[0].capability, y="answered exactly (fraction)")
    label(panels[1, 0], x="parameters", y="log-likelihood of an\nanswer token (nats)")
    panels[0, 0].legend(**LEGEND, loc="upper left")
    title = "Scores by size, on held-out questions: means and 95 % intervals over the seeds"
    headline(figure, f"{title}. Shaded: the decade of a jump")
    return figure


def draw_score(axes, parameters, means, ends, colour) -> None:
    axes.fill_between(parameters, ends[:, 0], ends[:, 1], color=colour, alpha=0.2, linewidth=0)
    axes.plot(parameters, means, color=colour, linewidth=1.6, marker="o", markersize=3.5, label="held out")


def law_figure(forecast):
    """Draw the losses and the law against N with one line per D, and against D with one line per N."""
    figure, panels = new_panels(1, 2, 5.2, 4.0, sharey=True)
    against_n, against_d = panels[0]
    points, law, prediction = forecast.points, forecast.law, forecast.prediction
    for axes, x, other, unit in ((against_n, 0, 1, "characters"), (against_d, 1, 0, "parameters")):
        values = np.unique(points[:, other])
        for value, colour in zip(values, viridis(len(values)), strict=True):
            chosen = points[points[:, other] == value]
            xs = np.geomspace(points[:, x].min(), points[:, x].max(), 100)
            axes.plot(xs, law.loss(*((xs, value) if x == 0 else (value, xs))), color=colour, linewidth=1)
            axes.plot(chosen[:, x], chosen[:, 2], "o", color=colour, markersize=3.5, label=f"{value:,.0f} {unit}")
        axes.set_xscale("log")
    values, hollow = [(prediction.predicted, *prediction.ends)], {"markerfacecolor": "none", "linewidth": None}
    draw_values(against_n, [prediction.parameters], values, VERMILION, "D", "predicted without it", **hollow)
    for axes in panels[0]:
        axes.legend(**LEGEND | {"fontsize": 7})
    label(against_n, "Loss and size", "parameters, N", "loss of the text (nats per character)")
    label(against_d, "Loss and text", "characters of text, D")
    formula = f"L = {law.E:.3g} + {law.A:.3g} / N^{law.alpha:.2f} + {law.B:.3g} / D^{law.beta:.2f}"
    headline(figure, f"{formula}: points are measured, lines are the law")
    return figure


def optimal_figure(forecast):
    """Draw the law over N and D with the compute-optimal choices, and the optimal N against the budget."""
    figure, panels = new_panels(1, 2, 5.2, 4.0)
    landscape, sizes = panels[0]
    law, points, choices = forecast.law, forecast.points, forecast.choices
    best = np.array([law.optimal(choice.budget) for choice in choices])
    shown = np.concatenate([points[:, :2], best])
    N, D = np.geomspace(shown.min(axis=0) / 1.3, shown.max(axis=0) * 1.3, 80).T
    image = landscape.contourf(N, D, law.loss(N[None, :], D[:, None]), levels=14, cmap="viridis_r")
    figure.colorbar(image, ax=landscape, label="loss by the law (nats per character)")
    landscape.plot(points[:, 0], points[:, 1], "o", color="white", markeredgecolor=INK, markersize=4, label="trained")
    landscape.plot(best[:, 0], best[:, 1], color=VERMILION, marker="D", markersize=4, label="compute-optimal")
    landscape.legend(fontsize=8, labelcolor=INK, loc="upper left")
    label(landscape, "The best use of computation", "parameters, N", "characters of text, D")
    budgets, ends = [choice.budget for choice in choices], np.array([choice.parameters_ends for choice in choices])
    draw_score(sizes, budgets, best[:, 0], ends, VERMILION)
    largest = 6 * points[:, 0].max() * points[:, 1].max()
    sizes.axvspan(largest, budgets[-1], color=GRID, alpha=0.6, linewidth=0)
    sizes.annotate("more than any run had", **SMALL_NOTE)
    label(sizes, "The best size, with its interval", "budget, C = 6 N D (operations)", "parameters, N*")
    for axes in panels[0]:
        axes.set_xscale("log")
        axes.set_yscale("log")
    return figure


def shapes_figure(shapes):
    figure, panels = new_panels(1, 2, 5.2, 3.8)
    losses, scores = panels[0]
    xs = np.arange(len(shapes))
    draw_values(losses, xs, [shape.loss for shape in shapes], BLUE, "o", "")
    capabilities = list(shapes[0].exact)
    for i, (name, colour) in enumerate(zip(capabilities, viridis(len(capabilities)), strict=True)):
        offset = (i - (len(capabilities) - 1) / 2) * 0.1
        values = [shape.exact[name] for shape in shapes]
        draw_values(scores, xs + offset, values, colour, MARKERS[i % len(MARKERS)], name)
    for axes in panels[0]:
        axes.set_xticks(xs, [f"{shape.n_layers} × {shape.d_model}" for shape in shapes])
        axes.set_xlim(-0.5, len(xs) - 0.5)
    scores.set_ylim(-0.04, 1.04)
    scores.legend(**LEGEND, loc="center left", bbox_to_anchor=(1, 0.5))
    label(losses, "Loss of the text", "layers × width", "nats per character")
    label(scores, "Answered exactly", "layers × width", "fraction of held-out questions")
    smallest, largest = (f(shape.parameters for shape in shapes) for f in (min, max))
    title = f"Deeper against wider, {smallest:,} to {largest:,} parameters"
    headline(figure, f"{title}: means and 95 % intervals over the seeds")
    return figure


def draw_values(axes, xs, values, colour, marker, name, **options) -> None:
    """Draw (mean, low, high) at each x; `options` are passed to axes.errorbar."""
    means, low, high = np.array(values).T
    options = {"markersize": 5, "capsize": 3, "linewidth": 1.2} | options
    reach = [np.maximum(means - low, 0), np.maximum(high - means, 0)]
    axes.errorbar(xs, means, reach, fmt=marker, color=colour, label=name, **options)


def viridis(count: int):
    """Return `count` distinguishable colours, from dark to light."""
    from matplotlib import colormaps

    return [colormaps["viridis"](x) for x in np.linspace(0, 0.88, count)]
