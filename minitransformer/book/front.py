"""Format the front page: the film, the routes, the model, and a card for each page."""

from html import escape

from minitransformer.book.chapters import QUESTIONS, ROUTES
from minitransformer.book.film import player
from minitransformer.book.handout import in_code
from minitransformer.book.thumbnails import thumbnail

AIM = (
    "Write a language model in NumPy, derive the gradient of each part by hand, and show that it is right. Each "
    "chapter is a file of the program: its equations, code and numbers come from one source, and are compared."
)
ASSUMED = (
    "The chain rule for functions of one variable, the product of two matrices, and NumPy's arrays. To test yourself:"
)
FILM = (
    "A model of one block reads <b>b a n a</b> and should predict <b>a n a n</b>. Every box is a line of "
    '<a href="one_page.html">one_page.py</a>. <span class="forward">Forward</span>, the lines lead from the letters to '
    'the loss. <span class="back">Backward</span>, each gradient stands under the lines that it mirrors.'
)
# The model from left to right: (label, page). The parts between two additions stand on a branch of the stream.
BEFORE = (("embedding", "embedding"), ("positions", "positions"))
BRANCHES = (
    (("norm", "layer_norm"), ("attention", "multi_head_attention")),
    (("norm", "layer_norm"), ("feed-forward", "feed_forward")),
)
AFTER = (("norm", "layer_norm"), ("unembedding", "embedding"), ("cross-entropy", "losses"))
STREAM, BRANCH, HEIGHT = 84, 34, 26  # the height of the stream, of a branch above it, and of a box


def front_page(leaves, ladders: dict, equations: int, equal: int) -> list:
    """Return the body of the front page. `equal` of the `equations` have the same values as their lines of code.

    `ladders` maps pages to their first ladders, whose arrays are the pictures of the cards.
    """
    titles = {leaf.page: leaf.title for leaf in leaves}
    questions = "".join(
        f"<details><summary>{escape(question)}</summary><p>{escape(answer)}</p></details>"
        for question, answer in QUESTIONS.items()
    )
    groups: dict = {}
    for leaf in leaves:
        groups.setdefault(group_of(leaf), []).append(leaf)
    return [
        '<header><p class="kicker">minitransformer, the book</p><h1>How a language model works, and why its gradients '
        f'are right</h1><p class="question">{AIM}</p></header>',
        f'<div class="hero card">{"".join(player())}</div>',
        f'<p class="caption">{FILM} <a href="film.html">The whole film</a></p>',
        f'<h2>Where to begin</h2><div class="routes">{"".join(route(*r, titles) for r in ROUTES.items())}</div>',
        "<p>To derive a chapter yourself, on paper: <code>minitransformer book --handout layer_norm</code>; "
        f"{in_code()}.</p>",
        f'<h2>What you need</h2><p>{ASSUMED}</p><div class="routes">{questions}</div>',
        f'<h2>The model</h2><figure><div class="card" tabindex="0">{model()}</div><figcaption>Each part leads to its '
        'chapter. A block reads from the residual stream and adds to it. <span class="back">Dashed</span>: the '
        "gradient of the stream, which passes every addition unchanged.</figcaption></figure>",
        *(
            f'<h2>{name}</h2><div class="cards">{"".join(card(leaf, ladders) for leaf in some)}</div>'
            for name, some in groups.items()
        ),
        f"<p>{equal} of the {equations} equations are executed on small arrays, which are shown with them, and equal "
        "the values that their lines of code compute. For each of the others, the page gives the reason.</p>",
    ]


def group_of(leaf) -> str:
    if not leaf.question:
        return "Experiments and tools"
    if leaf.file.startswith("layers/modern/"):
        return "After 2023"
    is_part = leaf.file.startswith("layers/") or leaf.page in ("first_steps", "module")
    return "First steps, and the parts of a model" if is_part else "The whole model"


def card(leaf, ladders) -> str:
    return (
        f'<a class="chapter" href="{leaf.page}.html">{thumbnail(leaf.page, ladders.get(leaf.page))}'
        f"<b>{escape(leaf.title)}</b><span>{escape(leaf.question or leaf.about)}</span></a>"
    )


def link(page: str, title: str) -> str:
    return f'<a href="{page}.html">{escape(title)}</a>'


def route(title: str, parts: str, titles: dict) -> str:
    steps = ""
    for minutes, *pages in map(str.split, parts.split("; ")):
        steps += f"<li>{', '.join(link(page, titles[page]) for page in pages)} <small>{minutes} min</small></li>"
    return f"<div><h3>{title}</h3><ol>{steps}</ol></div>"


def model() -> str:
    drawn, x = ['<text class="small" x="46" y="62">token ids</text>'], 10.0
    for label, page in BEFORE:
        drawn.append(box(x, STREAM, label, page))
        x += width(label) + 24
    left = x - 6
    for branch in BRANCHES:
        begins = x + 4
        x += 24
        for label, page in branch:
            drawn.append(box(x, BRANCH, label, page))
            x += width(label) + 14
        drawn.insert(
            0, f'<path class="forward" d="M{begins:.0f} {STREAM}V{BRANCH}H{x:.0f}V{STREAM - 8}m-3 -5l3 5l3 -5"/>'
        )
        drawn.append(
            f'<circle class="plus" cx="{x:.0f}" cy="{STREAM}" r="8"/><text x="{x:.0f}" y="{STREAM + 4}">+</text>'
        )
        x += 22
    drawn.insert(0, f'<rect class="block" x="{left:.0f}" y="4" width="{x - left:.0f}" height="{STREAM + 26}"/>')
    drawn.append(f'<text class="small" x="{x - 20:.0f}" y="20">L ×</text>')
    x += 16
    for label, page in AFTER:
        drawn.append(box(x, STREAM, label, page))
        x += width(label) + 24
    end = x - 24
    drawn.append(f'<text class="small" x="{end - 40:.0f}" y="62">loss</text>')
    drawn.insert(1, f'<path class="forward" d="M10 {STREAM}H{end:.0f}"/>')
    back = f"M{end:.0f} {STREAM + 36}H14m6 -3l-6 3l6 3"
    drawn.append(f'<path class="back dashed" d="{back}"/>')
    words = ", ".join(label for label, _ in (*BEFORE, *BRANCHES[0], *BRANCHES[1], *AFTER))
    return (
        f'<svg class="graph model" viewBox="0 0 {end + 10:.0f} 130" width="{end + 10:.0f}" role="group" aria-label="'
        f"From the token ids to the loss: {words}. The block is repeated L times, and each of its two branches is "
        f'added to the residual stream.">{"".join(drawn)}</svg>'
    )


def width(label: str) -> float:
    return 7.4 * len(label) + 18


def box(x: float, y: int, label: str, page: str) -> str:
    return (
        f'<a href="{page}.html"><rect x="{x:.0f}" y="{y - HEIGHT / 2:.0f}" width="{width(label):.0f}" '
        f'height="{HEIGHT}"/>'
        f'<text x="{x + width(label) / 2:.0f}" y="{y + 4}">{escape(label)}</text></a>'
    )
