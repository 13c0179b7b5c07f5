"""The sections "See it in a trained model": activations of a small stored model on a sentence, for five chapters."""

from collections.abc import Callable
from html import escape

import numpy as np

from minitransformer.book.pictures import Panel, table, written
from minitransformer.book.reading import choice, on_the_sentence, reading, trained, words
from minitransformer.book.trained_heads import all_heads, heads, one_head
from minitransformer.layers.layer_norm import layer_norm
from minitransformer.layers.softmax import softmax

LIKELIEST = 5  # tokens shown of a prediction
HEAD = 7  # the head whose scores are shown


def trained_section(page: str) -> str:
    """Return the section of a chapter that shows the trained model, or "" if it has none."""
    if page not in SECTIONS:
        return ""
    lm, facts = trained()
    text, figure, caption, more = SECTIONS[page]()
    config = lm.model.config
    about = (
        f"It has {config.n_layers} blocks of {config.n_heads} heads, {config.d_model} channels and "
        f"{lm.model.n_parameters():,} parameters, and was not trained on this part of the text. Its validation loss is "
        f"{facts['loss']:.2f} nats per token. {facts['seconds'] / 60:.0f} minutes on one core trained it: "
        f"<code>{escape(facts['command'])}</code>"
    )
    return (
        '<section class="trained"><h2>See it in a trained model</h2><p>A small model has learned to continue plays of '
        f"Shakespeare. {text}</p><figure>{figure}<figcaption>{caption}<details><summary>The model</summary><p>{about}"
        f"</p>{more}</details></figcaption></figure></section>"
    )


def by_token(legend, tokens, numbers, view, says, chosen, form=".2f") -> str:
    """Return a figure that shows view(k) and says says(k) for the chosen token k. The tokens have numbers ≥ 0."""
    choices = choice(legend, tokens, numbers / numbers.max(), [format(number, form) for number in numbers], chosen)
    every = range(len(tokens))
    return reading(choices, [[escape(says(k), quote=False) for k in every]], (0, chosen), map(view, every))


def bar(value, form=".2f", largest=1.0, way="") -> str:
    """Return a number above a bar, which is as long as the cell for `largest`. That of a negative number is grey."""
    share = f"{abs(value) / largest:.2f}"
    return f'<span class="bar {way}{" neg" * bool(value < 0)}" style="--s:{share}">{written(value, form)}</span>'


def channels(values, largest) -> str:
    panel = Panel(0, 0, 256, 40, (0, len(values)), (-largest, largest))
    panel.bars(values, numbers="")
    return f'<svg viewBox="0 0 256 40" preserveAspectRatio="none" aria-hidden="true">{panel}</svg>'


def layer_norms():
    """Show the stream of each token before the norms, and after them."""
    (ids, seen), config = on_the_sentence(), trained()[0].model.config
    names = [*(f"block {i + 1}" for i in range(config.n_layers)), "unembedding"]
    x = np.stack([seen["embedding"], *(seen[f"blocks.{i}"] for i in range(config.n_layers))])
    x_hat, _ = layer_norm(x, np.ones(config.d_model), np.zeros(config.d_model), eps=config.eps)
    tokens, deviations = words(ids), x.std(axis=-1)

    def view(at):
        sides = [(side[:, at], np.abs(side[:, at]).max()) for side in (x, x_hat)]
        (before, high), (after, highest) = sides
        rows = [
            (name, channels(a, high), written(a.std(), ".2f"), channels(b, highest))
            for name, a, b in zip(names, before, after, strict=True)
        ]
        return table("before | stream x | σ of x | normalized, x̂", rows)

    def says(at):
        first, *_, last = deviations[:, at]
        c = int(np.abs(x_hat[-1, at]).argmax())
        before, after = (written(side[-1, at, c], ".2f") for side in (x, x_hat))
        return (
            f"At “{tokens[at]}” the deviation σ is {first:.2f} before the first block and {last:.2f} before the "
            f"unembedding, where the entry of x̂ that is largest in size is that of channel {c + 1}. It is {before} "
            f"before the norm and {after} after it."
        )

    text = (
        "Each block adds to the stream, and reads a normalized copy of it. Choose a token, with the arrow keys or the "
        f"pointer: its {config.d_model} channels are drawn as bars, grey below zero."
    )
    caption = (
        f"The means μ are small, at most {np.ceil(100 * np.abs(x.mean(axis=-1)).max()) / 100:.2f}. All streams x of a "
        "token are drawn on one scale, and so are all its x̂, whose deviation is 1. The model multiplies x̂ by γ and "
        "adds β. Not shown: the norm before each feed-forward layer."
    )
    legend = "Each token, and its σ before the unembedding"
    return text, by_token(legend, tokens, deviations[-1], view, says, 10, ".1f"), caption, ""


def softmaxes():
    """Show the scores of one head, their exponentials, and its weights."""
    (ids, seen), config = on_the_sentence(), trained()[0].model.config
    layer, at = divmod(HEAD, config.n_heads)
    q, k = (seen[f"blocks.{layer}.attention.{name}"][at] for name in "qk")
    tokens, scores = words(ids), q @ k.T / np.sqrt(q.shape[-1])
    shares = [softmax(row[: query + 1])[0] for query, row in enumerate(scores)]

    def view(query):
        x, y = scores[query, : query + 1], shares[query]
        e, size = np.exp(x - x.max()), np.abs(x).max()
        cells = [(bar(a, ".2f", size), bar(b), bar(c)) for a, b, c in zip(x, e, y, strict=True)]
        cells += [("not seen", "", "")] * (len(tokens) - len(x))
        rows = [(escape(token), *row) for token, row in zip(tokens, cells, strict=True)]
        return table(
            "token that is read | score x | exp(x − m) | share y",
            [*rows, ("sum", "", written(e.sum(), ".2f"), written(y.sum(), ".2f"))],
        )

    def says(query):
        if query == 0:
            return f"“{tokens[0]}” is the first token and sees only itself: whatever its score, its share is 1."
        second, first = np.argsort(shares[query], kind="stable")[-2:]
        gap, times = scores[query, first] - scores[query, second], shares[query][first] / shares[query][second]
        return (
            f"From “{tokens[query]}”, the largest score is that of “{tokens[first]}”, {gap:.2f} above the next one, "
            f"that of “{tokens[second]}”. Its share is {times:.2g} times as large, the exponential of this difference."
        )

    text = (
        "In each of its attention heads, the token that reads gives a score to itself and every token before it, here "
        f"in head {heads()[HEAD].label}. Choose a token, with the arrow keys or the pointer: the softmax makes its "
        "scores shares of a whole."
    )
    caption = "m is the largest score, whose exponential is 1. A share is an exponential divided by their sum."
    largest = np.array([y.max() for y in shares])
    return text, by_token("The token that reads, and its largest share", tokens, largest, view, says, 10), caption, ""


def losses():
    """Show the probability of each next token, its loss, and the gradient of its logits."""
    (ids, seen), facts = on_the_sentence(), trained()[1]
    tokens, logits, targets = words(ids), seen["lm_head"][:-1], ids[1:]
    p, V = softmax(logits)[0], logits.shape[-1]
    gradient = p - np.eye(V)[targets]
    loss = -np.log(p[np.arange(len(targets)), targets])

    def view(at):
        target, size, best = targets[at], np.abs(logits[at]).max(), np.argsort(-p[at], kind="stable")
        some = [*best[:LIKELIEST], target if target in best[LIKELIEST:] else best[LIKELIEST]]
        rows = [
            (name, bar(logits[at, c], ".2f", size), bar(p[at, c], ".3f"), bar(gradient[at, c], ".3f", way="grad"))
            for c, name in zip(some, map(escape, words(some)), strict=True)
        ]
        is_next = some.index(target)
        rows[is_next] = (f"<b>{rows[is_next][0]}</b> is next", *rows[is_next][1:])
        rest = p[at].sum() - p[at, some].sum()
        others = (f"{V - len(some)} others, together", "", bar(rest, ".3f"), bar(rest, ".3f", way="grad"))
        return table("token | logit x | probability p | gradient p − onehot", [*rows, others])

    def says(at):
        comes, share = f"“{tokens[at + 1]}”", written(p[at, targets[at]])
        return (
            f"After “{tokens[at]}”, the model gives {comes} the probability {share}, and the loss −log p is "
            f"{loss[at]:.2f} nats. The gradient is negative only for {comes}: a step against it raises this logit and "
            "lowers all others."
        )

    text = (
        "From each token of a sentence, and those before it, it predicts the next one. Choose a token, with the arrow "
        "keys or the pointer, to see the tokens that it expected instead."
    )
    caption = (
        f"The mean of these {len(loss)} losses is the loss of the sentence, {loss.mean():.2f} nats. On all of the "
        f"held-out text it is {facts['loss']:.2f}, and {V} equally likely tokens would have log {V} = {np.log(V):.2f}."
    )
    legend = f"After “{escape(tokens[0])}”: each next token, and its loss in nats"
    return text, by_token(legend, tokens[1:], loss, view, says, 9), caption, ""


SECTIONS: dict[str, Callable] = {
    "attention": one_head,
    "multi_head_attention": all_heads,
    "layer_norm": layer_norms,
    "softmax": softmaxes,
    "losses": losses,
}
