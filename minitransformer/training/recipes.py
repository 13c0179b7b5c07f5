"""Recipes: parts of a model and settings of its training that are used together.

`train --recipe NAME` takes them as defaults, and `bench --to-loss` measures the time that each needs to reach a loss.
The fields that a recipe does not name have their defaults, which are nanoGPT's for a small model on a CPU.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Recipe:
    about: str
    model: dict = field(default_factory=dict)  # fields of Config
    settings: dict = field(default_factory=dict)  # fields of Settings


MODEL = {"context": 64, "d_model": 128, "n_heads": 4, "n_layers": 4}  # nanoGPT's for a CPU
TUNED = {"lr": 4e-3}
MUON = {**TUNED, "optimizer": "muon"}
# A position uses as many weights as in one SwiGLU of the default width, 344.
EXPERTS = {"feed_forward": "swiglu", "n_experts": 4, "n_active": 2, "d_ff": 172}
FAST = {"positions": "rotary", "qk_norm": True, "feed_forward": "relu_squared"}
RECIPES = {
    "nanogpt": Recipe("nanoGPT's for a CPU, which is the default"),
    "adamw": Recipe("the same with a learning rate of 0.004", settings=TUNED),
    "muon": Recipe("Muon for the matrices of the blocks", settings=MUON),
    "fast": Recipe("Muon, rotary positions, normalized queries and keys, and squared ReLU", FAST, MUON),
    "qk-norm": Recipe("normalized queries and keys", {"qk_norm": True}, TUNED),
    "relu-squared": Recipe("squared ReLU", {"feed_forward": "relu_squared"}, TUNED),
    "swiglu": Recipe("gated feed-forward layers", {"feed_forward": "swiglu"}, TUNED),
    "rotary": Recipe("rotary positions", {"positions": "rotary"}, TUNED),
    "experts": Recipe("two of four experts, each half as wide", EXPERTS, TUNED),
    "delta": Recipe("the delta rule in every second block", {"mixers": ("delta", "attention")}, TUNED),
}
