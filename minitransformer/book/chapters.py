"""The chapters, in the order in which the map says to read: each is a file of the textbook."""

from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Leaf:
    """A page: its title, its name without .html, and in a sentence what it is about."""

    title: str
    page: str
    about: str


@dataclass(frozen=True)
class Chapter:
    """A chapter: its title, the file below the package, what it is about, and its exhibits in the museum, by name."""

    title: str
    file: str
    about: str
    exhibits: tuple = ()

    @property
    def path(self) -> Path:
        """Where the file is."""
        return PACKAGE / self.file

    @property
    def page(self) -> str:
        """The name of its page, without .html."""
        return self.path.stem


CHAPTERS = (
    Chapter(
        "Chapter zero: the chain rule",
        "module.py",
        "What a gradient is, why paths add, and why backward runs from the last step to the first; then all of the "
        "framework.",
        ("used-twice", "backward-twice"),
    ),
    Chapter(
        "Linear map",
        "layers/linear.py",
        "A product with a matrix, and the two products of its gradient, one of them transposed.",
        ("bias-broadcast", "input-twice"),
    ),
    Chapter(
        "Embedding and unembedding",
        "layers/embedding.py",
        "A table that is looked up, whose gradient adds up where a token repeats; and the same table as a product.",
        ("embedding-repeated", "tied-embedding"),
    ),
    Chapter(
        "Positions",
        "layers/positions.py",
        "How a token is told where it stands: by a table, by waves, or by turning queries and keys.",
        ("rotary",),
    ),
    Chapter(
        "Layer normalization",
        "layers/layer_norm.py",
        "Mean 0 and variance 1 for each position, and the three paths by which x reaches the result.",
        ("batch-norm-ones", "layer-norm-rank"),
    ),
    Chapter(
        "Root-mean-square normalization",
        "layers/rms_norm.py",
        "Its simpler relative, with one path less.",
        ("rms-norm-weight",),
    ),
    Chapter(
        "Softmax",
        "layers/softmax.py",
        "Weights that sum to one, and what their common sum makes of the gradient; and their logarithm.",
        ("softmax-identity", "softmax-diagonal", "log-softmax"),
    ),
    Chapter(
        "Attention",
        "layers/attention.py",
        "An average of values, weighted by how well keys fit a query; masks, and heads that share keys.",
        ("attention-transposed", "attention-empty-row", "attention-grouped", "attention-dropout"),
    ),
    Chapter(
        "Multi-head attention",
        "layers/multi_head_attention.py",
        "Several heads side by side, between four linear maps.",
    ),
    Chapter(
        "Activations",
        "layers/activations.py",
        "ReLU, SiLU and GELU: functions of one number, and their slopes.",
        ("relu-zero", "gelu-mixed", "tanh-of-dy"),
    ),
    Chapter(
        "Dropout", "layers/dropout.py", "Noise that trains, and the same noise on the way back.", ("dropout-ratio",)
    ),
    Chapter(
        "Feed-forward layers",
        "layers/feed_forward.py",
        "What happens at each position by itself: up, an activation or a gate, and down.",
    ),
    Chapter(
        "The transformer block",
        "layers/block.py",
        "Two steps that add to the stream, and the direct path that their gradients have.",
        ("pre-norm-residual",),
    ),
    Chapter("The transformer", "transformer.py", "From ids to logits: the parts put together."),
    Chapter(
        "Cross-entropy",
        "losses.py",
        "The loss of the next token: weights, smoothing, what is ignored; its gradient is p minus the target.",
        ("cross-entropy-ignored", "cross-entropy-padding"),
    ),
    Chapter(
        "AdamW, clipping and the schedule",
        "optim.py",
        "How weights move: two averages and their correction, a bound for all gradients, a rate that rises and falls.",
    ),
    Chapter("One page", "one_page.py", "A whole training step, forward and backward, straight down one page."),
    Chapter("Generation", "generation.py", "From logits to a token, and the cache of keys and values."),
    Chapter(
        "Low-rank adapters",
        "layers/lora.py",
        "Fine-tuning: a matrix that stays, and a small correction that is learned.",
    ),
    Chapter("Recomputation", "layers/recomputation.py", "Less memory for a second forward pass."),
)
