"""The familiarity of a text to a model, and the model's confidence in an answer.

Perplexity is exp(−mean log p) over a text's tokens except the first, each given those before it: the number of equally
likely tokens that would give the same loss. The mean log-probability is the familiarity of the text. A text from the
training set tends to be more familiar than another one. This is the oldest sign of membership (Yeom et al., 2018;
Carlini et al., 2021), and a weak one, because an easy text is familiar in any case.

Carlini et al. divide by the length to which zlib compresses the text, to correct for easy texts. A model of two layers
and width 64 was trained on 400 passages of Shakespeare; 400 passages of the same scenes were held out. The area under
the curve (see separation.py) of both scores, for passages cut to a number of characters, was

    steps   characters   log-probability   divided by zlib
    200     16           0.610             0.617
    200     65           0.692             0.661
    600     16           0.835             0.838
    600     65           0.937             0.926

Short texts hardly compress, and for longer ones the division lowered the area. So the score here is the plain
log-probability. The compressed length has another use: it does not depend on the model. If it alone distinguishes
training from held-out passages, they differ in kind, and the model may be recognising the kind (see calibration.py).

Confidence is the geometric mean of the probabilities that the model gives to the tokens of its greedy answer: exp(−ℓ),
where ℓ is the loss that tracin.py traces back to passages.
"""

import zlib

import numpy as np

from minitransformer.generation import stream
from minitransformer.losses import cross_entropy
from minitransformer.module import apply


def token_log_probabilities(model, ids):
    """Return the log-probability of each of ids (n,) except the first, given the ids before it.

    The result (n − 1,) is float64. n − 1 must be at most the model's context.
    """
    losses, _ = apply(cross_entropy, model.predict(ids[None, :-1]), ids[None, 1:], reduction="none")
    return -losses[0].astype(np.float64)


def answer_loss(model, example) -> float:
    """Return the mean cross-entropy of an Example in nats. Ignored targets do not count."""
    return float(apply(cross_entropy, model.predict(example.inputs[None]), example.targets[None])[0])


def own_answer(lm, ids, n_tokens: int):
    """Return the model's greedy continuation of ids (n,), which has n_tokens ids, or fewer if the text ends."""
    tokenizer = lm.tokenizer
    options = {"temperature": 0, "vocab_size": tokenizer.vocab_size, "stop": tokenizer.end_ids}
    return np.array(list(stream(lm.model, ids, n_tokens, **options)), np.int64)


def compressed_bytes(text: str) -> int:
    return len(zlib.compress(text.encode("utf-8", "surrogatepass"), 9))
