"""Format the front page: the aim of the book, its prerequisites, and where to begin."""

from html import escape

from minitransformer.book.chapters import QUESTIONS, ROUTES
from minitransformer.book.handout import in_code

AIM = (
    "At the end of this book you can write a language model in NumPy, derive the gradient of each of its parts by "
    "hand, and show that the gradients are right. Each chapter is a file of the program, with the "
    "derivation on one side and the code on the other. The pages are generated from the source files."
)
ASSUMED = (
    "You need the chain rule for functions of one variable, the product of two matrices, and NumPy's arrays. Three "
    "questions to test yourself:"
)
# The parts of the model from the input to the loss: (label, page, whether it is within the block).
NORM, RESIDUAL = ("normalization", "layer_norm", True), ("+ residual", "block", True)
PARTS = (
    *(("token ids", None, False), ("embedding", "embedding", False), ("+ positions", "positions", False)),
    *(NORM, ("attention", "multi_head_attention", True), RESIDUAL),
    *(NORM, ("feed-forward", "feed_forward", True), RESIDUAL),
    *(("normalization", "layer_norm", False), ("unembedding", "embedding", False), ("cross-entropy", "losses", False)),
)
WIDTH, HEIGHT, GAP, LEFT = 150, 26, 16, 105  # size, gap and left edge of the boxes, in pixels


def front_page(leaves, equations: int, equal: int) -> list:
    """Return the body of the front page. `equal` of the `equations` have the same values as their lines of code."""
    titles = {leaf.page: leaf.title for leaf in leaves}
    items = "".join(
        f"<li>{link(leaf.page, leaf.title)}<br>{escape(leaf.question or leaf.about)}</li>" for leaf in leaves
    )
    questions = "".join(
        f"<li>{escape(question)} <details><summary>Answer</summary>{escape(answer)}</details></li>"
        for question, answer in QUESTIONS.items()
    )
    return [
        "<h1>minitransformer: how a language model works, and why its gradients are right</h1>",
        f'<div class="front"><div><p>{AIM}</p>',
        f"<h2>What you need</h2><p>{ASSUMED}</p><ol>{questions}</ol>",
        "<h2>Where to begin</h2>",
        *(route(title, parts, titles) for title, parts in ROUTES.items()),
        "<p>To derive a chapter yourself, on paper: <code>minitransformer book --handout layer_norm</code>; "
        f"{in_code()}.</p></div>",
        f"<figure>{model()}<figcaption>The model. Values run down to the loss, and their gradients run up. Each part "
        "links to its chapter.</figcaption></figure></div>",
        f'<h2>The chapters</h2><ol class="contents">{items}</ol>',
        f"<p>{equal} of the {equations} equations are executed on small arrays, which are shown with them, and equal "
        "the values that their lines of code compute. For each of the others, the page gives the reason.</p>",
    ]


def link(page: str, title: str) -> str:
    return f'<a href="{page}.html">{escape(title)}</a>'


def route(title: str, parts: str, titles: dict) -> str:
    steps = ""
    for minutes, *pages in map(str.split, parts.split("; ")):
        steps += f"<li>{', '.join(link(page, titles[page]) for page in pages)} ({minutes} min)</li>"
    return f"<h3>{title}</h3><ol>{steps}</ol>"


def model() -> str:
    drawn, right = [], LEFT + WIDTH
    for i, (label, page, _) in enumerate(PARTS):
        y = 8 + i * (HEIGHT + GAP)
        box = (
            f'<rect x="{LEFT}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="3"/>'
            f'<text x="{LEFT + WIDTH / 2:.0f}" y="{y + 18}">{escape(label)}</text>'
        )
        drawn.append(f'<a href="{page}.html">{box}</a>' if page else f"<g>{box}</g>")
        if i:
            down, up = LEFT + WIDTH / 3, LEFT + 2 * WIDTH / 3
            drawn.append(f'<path class="forward" d="M{down:.0f} {y - GAP}v{GAP}m-3 -5l3 5l3 -5"/>')
        if i > 1:  # ids have no gradient
            drawn.append(f'<path class="back" d="M{up:.0f} {y}v{-GAP}m-3 5l3 -5l3 5"/>')
    inside = [i for i, (_, _, is_inside) in enumerate(PARTS) if is_inside]
    top, height = (8 + inside[0] * (HEIGHT + GAP) - GAP / 2), len(inside) * (HEIGHT + GAP)
    drawn.insert(0, f'<rect class="block" x="20" y="{top:.0f}" width="{right + 65}" height="{height}" rx="6"/>')
    drawn.append(f'<text class="times" x="{right + 50}" y="{top + 20:.0f}">L ×</text>')
    for start, end in ((inside[0] - 1, inside[2]), (inside[2], inside[5])):  # the residual stream
        y0, y1 = (8 + i * (HEIGHT + GAP) + HEIGHT / 2 for i in (start, end))
        drawn.append(f'<path class="forward" d="M{LEFT} {y0:.0f}H60V{y1:.0f}H{LEFT}m-5 -3l5 3l-5 3"/>')
        drawn.append(f'<path class="back" d="M{right} {y1:.0f}H{right + 25}V{y0:.0f}H{right}m5 -3l-5 3l5 3"/>')
    size = 8 + len(PARTS) * (HEIGHT + GAP)
    words = ", ".join(label for label, _, _ in PARTS)
    return (
        f'<svg class="graph" viewBox="0 0 {right + 95} {size}" width="{right + 95}" role="group" '
        f'aria-label="From the input to the loss: {words}. The block is repeated L times. Around each of its two '
        f'halves, values and gradients pass on the residual stream.">{"".join(drawn)}</svg>'
    )
