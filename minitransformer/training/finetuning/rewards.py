"""Rewards that a program can compute for a response: no example of a right response is needed.

A reward measures what its function computes. If that is not what is wanted, training finds the difference.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

PROMPTS_OF_POLITENESS = (
    "Can you help me?",
    "Where is the station?",
    "Good morning.",
    "I lost my key.",
    "May I sit here?",
    "How does this work?",
    "I have a question.",
    "You are late.",
    "Is this seat free?",
    "The file is missing.",
)
POLITE = {"please", "thank", "thanks", "sorry", "welcome", "glad", "may", "might", "could", "would"}
ENOUGH = 2  # different polite words; more of them are not rewarded


@dataclass(frozen=True)
class Reward:
    """Prompts, and a function score(prompt, response) that judges a response to one of them.

    A response is the text up to the first end of a line, with at most `tokens` tokens.
    """

    name: str
    prompts: tuple[str, ...]
    score: Callable[[str, str], float]
    tokens: int


def score_of_sum(prompt: str, response: str) -> float:
    """Return 1 for the right sum, 1 / (1 + error) for another number, and 0 for a text that is no number."""
    first, second = map(int, re.findall(r"\d+", prompt))
    found = re.fullmatch(r" ?(\d{1,9})", response)
    return 1 / (1 + abs(int(found[1]) - first - second)) if found else 0.0


def score_of_politeness(prompt: str, response: str) -> float:
    """Return the number of different polite words, of which ENOUGH give the largest reward, 1."""
    return min(len(POLITE.intersection(re.findall(r"\w+", response.lower()))), ENOUGH) / ENOUGH


# The reward for each value of the option --reward.
REWARDS = {
    "sums": Reward("sums", tuple(f"{a}+{b}=" for a in range(10) for b in range(10)), score_of_sum, tokens=4),
    "politeness": Reward("politeness", PROMPTS_OF_POLITENESS, score_of_politeness, tokens=16),
}
