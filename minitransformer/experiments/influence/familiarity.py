"""How familiar a text is to a model, and how sure the model is of what it would say next.

Perplexity is exp(−mean log p) of a text's tokens but the first, each given those before it: as if, at every token, the
model had had to choose among so many equally likely ones. The mean log-probability itself is how familiar the text is.
A text that was seen in training tends to be more familiar than one that was not, which is the oldest sign of membership
(Yeom et al., 2018; Carlini et al., 2021), and a weak one: an easy text is familiar, whether it was seen or not.

Carlini et al. divide by the length to which zlib compresses the text, to discount what is easy for anybody. On passages
of Shakespeare, 400 that a model of two layers and width 64 was trained on and 400 of the same scenes that it was not,
the area under the curve (see separation.py) of both scores was, for passages cut to so many characters,

    steps   characters   log-probability   divided by zlib
    200     16           0.610             0.617
    200     65           0.692             0.661
    600     16           0.835             0.838
    600     65           0.937             0.926

Short texts hardly compress, and with longer ones the division made it worse. So the plain log-probability is the score
here. The compressed length has another use: it knows nothing of the model, so where it alone tells the passages seen
from those held out, they differ in kind, and the model may be telling the kind (see calibration.py).

Confidence is the geometric mean of the probabilities that the model gives to the tokens of its own answer, those that
it thinks likeliest one after another: exp(−ℓ), where ℓ is the loss that tracin.py follows back to passages.
"""

import zlib

import numpy as np

from minitransformer.generation import stream
from minitransformer.losses import cross_entropy
from minitransformer.module import apply


def token_log_probabilities(model, ids):
    """Return log p (n − 1,), float64, of each of ids (n,) but the first, given those before it; n − 1 ≤ context."""
    losses, _ = apply(cross_entropy, model.predict(ids[None, :-1]), ids[None, 1:], reduction="none")
    return -losses[0].astype(np.float64)


def answer_loss(model, example) -> float:
    """Return the mean cross-entropy in nats of those targets of an Example that count."""
    return float(apply(cross_entropy, model.predict(example.inputs[None]), example.targets[None])[0])


def own_answer(lm, ids, n_tokens: int):
    """Return what the model thinks likeliest to follow ids (n,), token by token: n_tokens ids, or up to the end."""
    tokenizer = lm.tokenizer
    how = {"temperature": 0, "vocab_size": tokenizer.vocab_size, "stop": tokenizer.end_ids}
    return np.array(list(stream(lm.model, ids, n_tokens, **how)), np.int64)


def compressed_bytes(text: str) -> int:
    """Return the number of bytes to which zlib compresses a text."""
    return len(zlib.compress(text.encode("utf-8", "surrogatepass"), 9))
