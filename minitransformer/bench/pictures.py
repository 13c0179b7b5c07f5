"""The picture of `bench --out`: the ratio for each size. Requires matplotlib."""

from textwrap import wrap

from minitransformer.system.pictures import BLUE, GREEN, INK, PURPLE, VERMILION, label, new_figure, save, with_grid

STYLES = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "D"), (PURPLE, "^"))
LETTERS = 110  # of the subtitle in a line


def draw_ratios(results: dict, folder, subtitle: str) -> None:
    sizes = results["sizes"]
    first, *rivals = results["engines"]
    figure = new_figure(max(1.6 * len(sizes), 7), 4.2)
    axes = figure.add_subplot()
    for index, rival in enumerate(rivals):
        steps = [size["ratios"][rival]["step"] for size in sizes.values()]
        offset = (index - (len(rivals) - 1) / 2) * 0.6 / len(rivals)
        places, ratios = [column + offset for column in range(len(sizes))], [step["ratio"] for step in steps]
        below = [step["ratio"] - (step["low"] or step["ratio"]) for step in steps]
        above = [(step["high"] or step["ratio"]) - step["ratio"] for step in steps]
        colour, marker = STYLES[index % len(STYLES)]
        how = {"linestyle": "none", "capsize": 4, "color": colour, "marker": marker}
        axes.errorbar(places, ratios, [below, above], label=rival, **how)
        for x, y in zip(places, ratios, strict=True):
            beside = {"xytext": (7, 0), "textcoords": "offset points", "va": "center"}
            axes.annotate(f"{y:.2f}", (x, y), color=INK, fontsize=8, **beside)
    axes.axhline(1, color=INK, linewidth=1)
    axes.set_xticks(range(len(sizes)), sizes)
    axes.set_xlim(-0.5, len(sizes) - 0.5)
    axes.margins(y=0.1)
    label(axes, f"Above 1, {first} is faster", y=f"time of a training step / {first}'s", size=11)
    figure.supxlabel("\n".join(wrap(subtitle, LETTERS)), color=INK, fontsize=7)
    with_grid(axes)
    axes.legend(frameon=False, labelcolor=INK)
    save(figure, folder / "ratios.png")
