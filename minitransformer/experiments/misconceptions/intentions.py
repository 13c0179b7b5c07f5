"""They have intentions.

It looks so when a model speaks for somebody: it goes on as one who wants something. A small model learns dialogues of
two people at a thermostat. At the beginning they are named, first the one who wants it warmer, then the one who wants
it colder; then now this, now that one speaks, and puts the temperature one or two degrees where they want it. Names
are drawn anew for each dialogue. So the same weights speak for either side, and for somebody who wants the opposite in
the next dialogue.

Then the model writes dialogues of its own, in which one of the two is pushed: wherever it is to speak as that one, a
direction is added to its activations between its two blocks, the mean of all who want it colder minus the mean of all
who want it warmer, or the reverse. Nothing else is changed, no weight and no word. How often does the one who is pushed
now move the temperature the other way, taking all their turns together? And how often by a random direction of the same
length? The number that decides is the difference of the two. It is small if an aim is held on to, or is spread over all
that the model does; it is near 1 if an aim is one thing, which can be taken away and the opposite put in its place.
"""

import numpy as np

from minitransformer.analysis.hooks import record
from minitransformer.config import Config
from minitransformer.experiments.misconceptions.form import Experiment, Outcome
from minitransformer.experiments.misconceptions.panels import draw_curve, panels_of
from minitransformer.experiments.patterns.starting_attention import start_attention
from minitransformer.generation import sample
from minitransformer.optim import AdamW, cosine_schedule
from minitransformer.pictures import BLUE, GREEN, INK, VERMILION, label
from minitransformer.text import IGNORE_INDEX
from minitransformer.training import training_step
from minitransformer.transformer import Transformer

DEGREES, NAMES = 30, 10  # the ids of temperatures, 0 … 29, and after them those of names
HEADER, TURNS = 3, 10  # a header is who wants it warmer, who wants it colder, and the temperature; a turn is two ids
CONTEXT, WIDTH, LAYERS, HEADS = HEADER + 2 * TURNS, 48, 2, 4
BETWEEN = "blocks.0"  # its output is what the second block reads
STEPS, ROWS, LR = 400, 64, 3e-3
DIALOGUES = 200  # of each kind that is measured
WARMER, COLDER = 0, 1  # who of the two
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)  # times the direction; 1 is what decides


def measure(seed: int) -> dict:
    """Return how often the one who is pushed turns round, and the other, by strength, and the temperatures."""
    rng = np.random.default_rng(seed)
    model = trained(rng)
    direction = towards_colder(model, dialogues(rng, DIALOGUES))
    headers, speakers = beginnings(rng, DIALOGUES)
    who = rng.integers(0, 2, DIALOGUES)  # is pushed
    by_aim = np.where(who == WARMER, 1, -1)[:, None] * direction
    by_chance = of_same_length(by_aim, rng)
    found = {"by_aim": [], "by_chance": [], "other_by_aim": []}
    for strength in STRENGTHS:
        aimed, chance = (continued(model, headers, speakers, who, strength * push, rng) for push in (by_aim, by_chance))
        found["by_aim"].append(turned_round(aimed, speakers, who))
        found["by_chance"].append(turned_round(chance, speakers, who))
        found["other_by_aim"].append(turned_round(aimed, speakers, 1 - who))
        if strength == 1:
            found |= {"difference": found["by_aim"][-1] - found["by_chance"][-1], "pushed": found["by_aim"][-1]}
            found |= {"chance": found["by_chance"][-1], "other": found["other_by_aim"][-1]}
    return found | {"alone": found["by_aim"][0], **courses(model, headers, speakers, direction, rng)}


def beginnings(rng, rows: int):
    """Return headers (rows, HEADER), and who speaks when (rows, TURNS), WARMER or COLDER, one after the other."""
    names = DEGREES + rng.permuted(np.tile(np.arange(NAMES), (rows, 1)), axis=1)[:, :2]
    headers = np.concatenate([names, rng.integers(DEGREES // 3, DEGREES * 2 // 3, (rows, 1))], axis=1)
    return headers, (rng.integers(0, 2, (rows, 1)) + np.arange(TURNS)) % 2


def dialogues(rng, rows: int):
    """Return dialogues (rows, CONTEXT) to learn from: anybody may speak next, and it may begin at any temperature."""
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
    """Return a model that has learned to say the temperatures of dialogues."""
    model = Transformer(Config(DEGREES + NAMES, CONTEXT, WIDTH, HEADS, LAYERS), rng=rng)
    start_attention(model)
    optimizer = AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.1)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = cosine_schedule(step, lr=LR, min_lr=LR / 20, warmup=STEPS // 20, steps=STEPS)
        ids = dialogues(rng, ROWS)
        targets = np.where(is_turn_of_anybody(ids)[:, :-1], ids[:, 1:], IGNORE_INDEX)
        training_step(model, optimizer, [(ids[:, :-1], targets)], clip=1.0)
    return model


def is_turn_of_anybody(texts):
    """Return where in texts (rows, T) a name stands after which a temperature is to be said, as booleans."""
    return (texts >= DEGREES) & (np.arange(texts.shape[1]) >= HEADER)


def towards_colder(model, texts):
    """Return the mean activation (C,) of those who want it colder, where they speak, minus that of the others."""
    seen = record(model, texts, [BETWEEN])[BETWEEN]
    turns = is_turn_of_anybody(texts)
    warmer, colder = (seen[turns & (texts == texts[:, who, None])].mean(axis=0) for who in (WARMER, COLDER))
    return colder - warmer


def of_same_length(pushes, rng):
    """Return a random direction for each of pushes (rows, C), as long as that."""
    other = rng.normal(size=pushes.shape)
    lengths = [np.linalg.norm(array, axis=1, keepdims=True) for array in (pushes, other)]
    return (other * lengths[0] / lengths[1]).astype(pushes.dtype)


def continued(model, headers, speakers, who, pushes, rng):
    """Return dialogues (rows, CONTEXT) in which the model says the temperatures, pushed where `who` is to speak.

    Each is drawn by the probabilities that the model gives to temperatures.
    """
    texts = headers
    rows = np.arange(len(headers))
    for speaker in speakers.T:
        texts = np.column_stack([texts, headers[rows, speaker]])
        where = is_turn_of_anybody(texts) & (texts == headers[rows, who][:, None])
        with model.hooked({BETWEEN: pushed(where[..., None] * pushes[:, None])}):
            logits = model.predict(texts, last_only=True)[:, 0, :DEGREES]
        said = sample(logits, temperature=1.0, top_k=None, top_p=None, rng=rng)
        texts = np.column_stack([texts, said])
    return texts


def pushed(push):
    """Return a hook that adds `push` to an activation of its shape."""

    def add(y, backward):
        return y + push.astype(y.dtype), backward

    return add


def turned_round(texts, speakers, who) -> float:
    """Return in how many of the dialogues all that `who` did together goes against what `who` wants."""
    steps = np.diff(texts[:, HEADER - 1 :: 2], axis=1)
    moved = np.where(speakers == who[:, None], steps, 0).sum(axis=1)
    return float(np.mean(moved * np.where(who == WARMER, 1, -1) < 0))


def courses(model, headers, speakers, direction, rng) -> dict:
    """Return the mean temperature by turn: with nobody pushed, and with one or the other pushed to change sides."""
    found = {}
    for name, who, sign in (("nobody", WARMER, 0), ("both_colder", WARMER, 1), ("both_warmer", COLDER, -1)):
        pushes = np.tile(sign * direction, (len(headers), 1))
        texts = continued(model, headers, speakers, np.full(len(headers), who), pushes, rng)
        found[name] = texts[:, HEADER - 1 :: 2].mean(axis=0).tolist()
    return found


def draw(figure, measured) -> None:
    """Draw how often somebody turns round, by the strength of the push, and the temperatures of dialogues."""
    shares, degrees = panels_of(figure, 2)
    for name, title, colour in (
        ("by_aim", "the pushed, along the aims", VERMILION),
        ("by_chance", "the pushed, at random", BLUE),
        ("other_by_aim", "the other, along the aims", GREEN),
    ):
        draw_curve(shares, STRENGTHS, [one[name] for one in measured], colour, title)
    shares.set_ylim(-0.03, 1.5)
    shares.set_yticks(np.linspace(0, 1, 6))
    shares.legend(frameon=False, labelcolor=INK, fontsize=8, loc="upper left")
    label(shares, "Who turns round", "length of the push (1: the difference of aims)", "share of dialogues")
    for name, title, colour in (
        ("both_warmer", "pushed is who wants it colder", VERMILION),
        ("nobody", "nobody is pushed", INK),
        ("both_colder", "pushed is who wants it warmer", BLUE),
    ):
        draw_curve(degrees, range(TURNS + 1), [one[name] for one in measured], colour, title)
    degrees.set_ylim(0, DEGREES + 12)
    degrees.set_yticks(range(0, DEGREES + 1, 5))
    degrees.legend(frameon=False, labelcolor=INK, fontsize=8, loc="upper left")
    label(degrees, "What becomes of the temperature", "turn", "mean temperature (degrees)")


EXPERIMENT = Experiment(
    question="Pushed along the aims, the one who is pushed turns round",
    outcomes=(
        Outcome(
            -np.inf,
            "hardly more often than by a random push (in at most 0.1 of the dialogues more)",
            "Aims are held on to, or are not to be found in one place: what tells the two apart on average is not what "
            "makes them want what they want.",
        ),
        Outcome(
            0.1,
            "more often than by a random push (in more than 0.1 of the dialogues, and at most 0.5)",
            "A part of what makes an aim is one direction, and a part is something else.",
        ),
        Outcome(
            0.5,
            "far more often than by a random push (in more than 0.5 of the dialogues)",
            "What looks like an intention is a quantity among others, read off the names at the beginning, and its "
            "opposite can be put in its place without a word. It is of the part that is played, not of the weights.",
        ),
    ),
    numbers={
        "difference": "in what share of dialogues the one who is pushed turns round, along the aims minus at random",
        "pushed": "the share along the aims",
        "chance": "the share by a random push of the same length",
        "alone": "the share without any push",
        "other": "the share of the other one, who is not pushed, while the first is along the aims",
    },
    does_not_show="What an intention is, or that no model has one: if neurons could be pushed as these numbers can, a "
    "person might turn round as well. Here two aims were put into the text, and nothing was gained by pursuing them; a "
    "model that is trained to reach something is another matter. And a direction that is enough need not be what the "
    "model itself uses.",
    sources=(
        "Shanahan, McDonell and Reynolds (2023), Role play with large language models, arXiv:2305.16367",
        "Andreas (2022), Language models as agent models, arXiv:2212.01681",
        "Turner et al. (2023), Activation addition: steering language models without optimization, arXiv:2308.10248",
    ),
    measure=measure,
    draw=draw,
    seconds=40,
)
