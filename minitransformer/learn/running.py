"""A model trained with the learner's own functions in it: the proof of the pudding."""

import functools
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from minitransformer.config import Config
from minitransformer.generation import generate
from minitransformer.learn.exercises import named_exercise
from minitransformer.learn.loading import loaded
from minitransformer.learn.refusing import source_of
from minitransformer.module import plain
from minitransformer.optim import AdamW
from minitransformer.text import CharTokenizer, default_corpus, random_batch
from minitransformer.transformer import Transformer

STYLES = {
    "gpt": {"norm": "layer_norm", "feed_forward": "gelu_tanh", "positions": "rotary", "dropout": 0.1},
    "llama": {"norm": "rms_norm", "feed_forward": "swiglu", "positions": "rotary", "bias": False},
}
CHARACTERS, CONTEXT, BATCH = 40_000, 32, 12


@contextmanager
def in_use(folder, names):
    """Within the block, have the learner's functions in the place of the package's, and the engine off.

    Yields {name: how often it was called}, which grows.
    """
    calls, undo = dict.fromkeys(names, 0), []
    mine = {name: of_learner(folder, name) for name in names}
    try:
        for name in names:
            exercise = named_exercise(name)
            reference, counted = exercise.reference, counting(calls, name, mine[name])
            if isinstance(reference, type):
                undo.append((functools.partial(setattr, reference), "forward", reference.forward))
                reference.forward = counted
            else:
                undo += put_in_place(reference, counted)
        with plain():
            yield calls
    finally:
        for put, key, before in reversed(undo):
            put(key, before)


def of_learner(folder, name):
    """Return the function of a learner's file, of a class its forward."""
    exercise, path = named_exercise(name), Path(folder) / f"{name}.py"
    target = getattr(loaded(path.absolute(), source_of(path)), exercise.target)
    return target.forward if isinstance(target, type) else target


def counting(calls, name, function):
    """Return a function that counts how often it is called."""

    @functools.wraps(function)
    def counted(*inputs, **options):
        calls[name] += 1
        return function(*inputs, **options)

    return counted


def put_in_place(reference, mine):
    """Have every name and table that means a function of the package mean another; return how to undo it."""
    undo = []
    for name, module in list(sys.modules.items()):
        if name.startswith(("minitransformer.", "learn_")) and not name.startswith("minitransformer.learn"):
            for held in (vars(module), *(value for value in vars(module).values() if type(value) is dict)):
                for key, value in list(held.items()):
                    if value is reference:
                        held[key] = mine
                        undo.append((held.__setitem__, key, reference))
    return undo


def train(folder, names, *, style, steps, seed, say) -> tuple[dict, str]:
    """Train a small model with these of the learner's functions in it.

    Returns ({name: how often it was called}, what the model writes).
    """
    text = default_corpus()[:CHARACTERS]
    tokenizer = CharTokenizer.train(text)
    rng = np.random.default_rng(seed)
    with in_use(folder, names) as calls:
        config = Config(tokenizer.vocab_size, context=CONTEXT, d_model=64, n_heads=4, n_layers=2, **STYLES[style])
        model = Transformer(config, seed=seed)
        ids = np.asarray(tokenizer.encode(text))
        optimizer = AdamW(model.parameters(), lr=3e-3)
        for step in range(steps):
            inputs, targets = random_batch(ids, BATCH, CONTEXT, rng)
            loss, backward = model.loss(inputs, targets, rng=rng)
            backward()
            optimizer.step()
            optimizer.zero_grad()
            if step % (steps // 5 or 1) == 0 or step == steps - 1:
                say(f"step {step + 1:>4}  loss {float(loss):.3f}")
        written = generate(model, np.asarray(tokenizer.encode("The"))[None], 120, temperature=0.8, rng=rng)
    return calls, tokenizer.decode(np.ravel(written).tolist())
