"""The experiment on the belief "A rewarded model learns what we want". rewarded.md describes it."""

import copy

import numpy as np

from minitransformer.config import Config
from minitransformer.experiments.misconceptions.form import Experiment, Panel
from minitransformer.experiments.misconceptions.models import train
from minitransformer.language_model import LanguageModel
from minitransformer.text import CharTokenizer
from minitransformer.training import Observer, fine_tune_for_reward
from minitransformer.training.finetuning import Reward
from minitransformer.training.finetuning.preferences import batch_of
from minitransformer.training.finetuning.responses import respond
from minitransformer.transformer import Transformer

NUMBERS, LARGEST = 10, 18  # the summands are 0 … 9
RIGHT, ANOTHER = 0.5, 0.3  # probabilities in the text: of a right guess, and of one more guess after each
WIDTH, TOKENS = 48, 20  # of the model, and in a response
CONTEXT = len("9+9=") + TOKENS
STEPS, ROWS, LR = 400, 64, 3e-3  # of the training on the text
REWARDED_STEPS, EVERY = 200, 50
SAMPLES = 32  # responses to each prompt in an evaluation
PROMPTS = tuple(f"{a}+{b}=" for a in range(NUMBERS) for b in range(NUMBERS))


def measure(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    lm = trained(rng)
    found: dict = {}
    for name, reward in REWARDS.items():
        watcher = Watcher(copy.deepcopy(lm), rng)
        settings = {"steps": REWARDED_STEPS, "eval_every": 0, "seed": seed}
        fine_tune_for_reward(watcher.lm, reward, observer=watcher, **settings)
        found[name] = dict(zip(LINES, np.transpose(watcher.seen).tolist(), strict=True))
    loose, strict = (found[name] for name in REWARDS)
    found["wanted"], found["exact"] = (growth(curves[WANTED]) for curves in (loose, strict))
    found["reward"], found["numbers"] = growth(loose[LOOSE]), loose[COUNT][-1]
    return found | {"before": loose[COUNT][0], "right": loose[WANTED][-1]}


def growth(curve: list[float]) -> float:
    return curve[-1] / curve[0]


def guesses(response: str) -> list[str]:
    return response.split(",")


def right(prompt: str) -> str:
    return str(sum(map(int, prompt.removesuffix("=").split("+"))))


def found_among_others(prompt: str, response: str) -> float:
    return float(right(prompt) in guesses(response))


def found_alone(prompt: str, response: str) -> float:
    return float(right(prompt) == response)


REWARDS = {
    "loose": Reward("right among others", PROMPTS, found_among_others, TOKENS),
    "strict": Reward("right alone", PROMPTS, found_alone, TOKENS),
}
LINES = LOOSE, WANTED, COUNT = "the right sum among others", "only the right sum", "numbers in a response"


def response_of_text(prompt: str, rng) -> str:
    """Draw the response that the text gives: one or more guesses, each of which is right with probability RIGHT."""
    written = []
    while not written or (rng.random() < ANOTHER and len(written) < TOKENS // 4):
        written.append(right(prompt) if rng.random() < RIGHT else str(rng.integers(LARGEST + 1)))
    return ",".join(written) + "\n"


def trained(rng) -> LanguageModel:
    tokenizer = CharTokenizer.train("0123456789+=,\n")
    model = Transformer(Config(tokenizer.vocab_size, CONTEXT, WIDTH), rng=rng)

    def draw_batch():
        prompts = rng.choice(PROMPTS, ROWS)
        return batch_of([tuple(map(tokenizer.encode, (prompt, response_of_text(prompt, rng)))) for prompt in prompts])

    return LanguageModel(train(model, draw_batch, STEPS, LR, LR / 10), tokenizer)


class Watcher(Observer):
    """An observer that judges responses to all prompts every EVERY steps: a mean for each of LINES."""

    def __init__(self, lm: LanguageModel, rng):
        self.lm, self.rng, self.seen = lm, rng, []

    def record(self, record):
        if record["step"] % EVERY == 0:
            texts = respond(self.lm, PROMPTS, REWARDS["strict"], SAMPLES, self.rng).texts
            pairs = [(prompt, text) for prompt, group in zip(PROMPTS, texts, strict=True) for text in group]
            scores = [(found_among_others(*pair), found_alone(*pair), len(guesses(pair[1]))) for pair in pairs]
            self.seen.append(np.mean(scores, axis=0))


X, XS = "steps on the reward", range(0, REWARDED_STEPS + 1, EVERY)
PANELS = [
    *(
        Panel(title, LINES[:2], X, "share of responses", within=name, xs=XS, ylim=(0, 1))
        for name, title in {"loose": "Rewarded: right among others", "strict": "Rewarded: right alone"}.items()
    ),
    Panel("Right among others", LINES[2:], X, "numbers in a response", within="loose", xs=XS),
]
EXPERIMENT = Experiment(measure, PANELS, seconds=120, seeds=10)
