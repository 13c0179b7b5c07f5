"""The experiment on the belief "They have intentions". intentions.md describes it."""

import numpy as np

from minitransformer.analysis.hooks import record
from minitransformer.config import Config
from minitransformer.experiments.misconceptions.form import Experiment, Panel
from minitransformer.experiments.misconceptions.models import train
from minitransformer.experiments.patterns.starting_attention import start_attention
from minitransformer.generation import sample
from minitransformer.text import IGNORE_INDEX
from minitransformer.transformer import Transformer

DEGREES, NAMES = 30, 10  # the ids of temperatures are 0 … 29, followed by those of names
HEADER, TURNS = 3, 10  # a header has 3 ids: the person who wants it warmer, the other, a temperature; a turn has 2
CONTEXT, WIDTH, LAYERS, HEADS = HEADER + 2 * TURNS, 48, 2, 4
BETWEEN = "blocks.0"  # its output is the second block's input
STEPS, ROWS, LR = 400, 64, 3e-3
DIALOGUES = 200  # number of dialogues of each measured kind
WARMER, COLDER = 0, 1  # the two people
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)  # multiples of the direction; 1 decides


def measure(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    model = trained(rng)
    direction = towards_colder(model, dialogues(rng, DIALOGUES))
    headers, speakers = beginnings(rng, DIALOGUES)
    who = rng.integers(0, 2, DIALOGUES)  # the person who is pushed
    by_aim = np.where(who == WARMER, 1, -1)[:, None] * direction
    by_chance = with_equal_norms(by_aim, rng)
    found: dict = {"by_aim": [], "by_chance": [], "other_by_aim": []}
    for strength in STRENGTHS:
        aimed, chance = (continued(model, headers, speakers, who, strength * push, rng) for push in (by_aim, by_chance))
        shares = (aimed, who), (chance, who), (aimed, 1 - who)
        for curve, (texts, person) in zip(found.values(), shares, strict=True):
            curve.append(share_reversed(texts, speakers, person))
    pushed, chance, other = (curve[STRENGTHS.index(1.0)] for curve in found.values())
    found |= {"difference": pushed - chance, "pushed": pushed, "chance": chance, "other": other}
    return found | {"alone": found["by_aim"][0]}


def beginnings(rng, rows: int):
    """Draw the headers (rows, HEADER) and the alternating speakers (rows, TURNS) of dialogues."""
    names = DEGREES + rng.permuted(np.tile(np.arange(NAMES), (rows, 1)), axis=1)[:, :2]
    headers = np.concatenate([names, rng.integers(DEGREES // 3, DEGREES * 2 // 3, (rows, 1))], axis=1)
    return headers, (rng.integers(0, 2, (rows, 1)) + np.arange(TURNS)) % 2


def dialogues(rng, rows: int):
    """Draw dialogues (rows, CONTEXT) for training, with random speakers and initial temperatures."""
    headers, _ = beginnings(rng, rows)
    headers[:, 2] = rng.integers(0, DEGREES, rows)
    speakers = rng.integers(0, 2, (rows, TURNS))
    texts = headers
    for speaker in speakers.T:
        step = np.where(speaker == WARMER, 1, -1) * rng.integers(1, 3, rows)
        turn = headers[np.arange(rows), speaker], np.clip(texts[:, -1] + step, 0, DEGREES - 1)
        texts = np.column_stack([texts, *turn])
    return texts


def trained(rng) -> Transformer:
    model = Transformer(Config(DEGREES + NAMES, CONTEXT, WIDTH, HEADS, LAYERS), rng=rng)
    start_attention(model)

    def draw_batch():
        ids = dialogues(rng, ROWS)
        return ids[:, :-1], np.where(is_name_of_speaker(ids)[:, :-1], ids[:, 1:], IGNORE_INDEX)

    return train(model, draw_batch, STEPS, LR, LR / 20, STEPS // 20)


def is_name_of_speaker(texts):
    return (texts >= DEGREES) & (np.arange(texts.shape[1]) >= HEADER)


def towards_colder(model, texts):
    """Return the direction (C,) from the mean activation at WARMER's turns to that at COLDER's."""
    seen = record(model, texts, [BETWEEN])[BETWEEN]
    turns = is_name_of_speaker(texts)
    warmer, colder = (seen[turns & (texts == texts[:, who, None])].mean(axis=0) for who in (WARMER, COLDER))
    return colder - warmer


def with_equal_norms(pushes, rng):
    other = rng.normal(size=pushes.shape)
    lengths = [np.linalg.norm(array, axis=1, keepdims=True) for array in (pushes, other)]
    return (other * lengths[0] / lengths[1]).astype(pushes.dtype)


def continued(model, headers, speakers, who, pushes, rng):
    """Continue dialogues to their full length (rows, CONTEXT), with an intervention at the turns of `who`.

    The intervention adds `pushes` (rows, C) to the activation BETWEEN.
    """
    texts = headers
    rows = np.arange(len(headers))
    for speaker in speakers.T:
        texts = np.column_stack([texts, headers[rows, speaker]])
        where = is_name_of_speaker(texts) & (texts == headers[rows, who][:, None])
        push = (where[..., None] * pushes[:, None]).astype(model.config.dtype)
        with model.hooked({BETWEEN: lambda y, backward, push=push: (y + push, backward)}):
            logits = model.predict(texts, last_only=True)[:, 0, :DEGREES]
        said = sample(logits, temperature=1.0, top_k=None, top_p=None, rng=rng)
        texts = np.column_stack([texts, said])
    return texts


def share_reversed(texts, speakers, who) -> float:
    """Return the share of dialogues in which `who` acts against their own aim.

    In these dialogues, the sum of the person's changes of the temperature has the wrong sign.
    """
    steps = np.diff(texts[:, HEADER - 1 :: 2], axis=1)
    moved = np.where(speakers == who[:, None], steps, 0).sum(axis=1)
    return float(np.mean(moved * np.where(who == WARMER, 1, -1) < 0))


LINES, X = ("by_aim", "by_chance", "other_by_aim"), "length of the push (1: the difference of aims)"
PANELS = [Panel("Who reverses", LINES, X, "share of dialogues", xs=STRENGTHS)]
EXPERIMENT = Experiment(measure, PANELS, seconds=40)
