"""The chapters of the book in reading order. Each is a file of the textbook."""

from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Leaf:
    """A page that is not a chapter: title, file name without .html, and a sentence on its content."""

    title: str
    page: str
    about: str


@dataclass(frozen=True)
class Chapter:
    """A chapter: title, source file, a sentence on its content, and names of museum exhibits."""

    title: str
    file: str
    about: str
    exhibits: tuple = ()

    @property
    def path(self) -> Path:
        return PACKAGE / self.file

    @property
    def page(self) -> str:
        return self.path.stem


CHAPTERS = (
    Chapter(
        "First steps",
        "first_steps.py",
        "Gradients by hand with numbers: a product, a neuron, two shares, and attention for one query in loops. A "
        "gradient checker in fifteen lines finds a planted mistake.",
    ),
    Chapter(
        "Chapter zero: the chain rule",
        "module.py",
        "The definition of a gradient, why the contributions of paths are added, and why backward runs from the last "
        "step to the first; then the complete framework.",
        ("used-twice", "backward-twice"),
    ),
    Chapter(
        "Linear map",
        "layers/linear.py",
        "A product with a matrix, and the two matrix products that are its gradients.",
        ("bias-broadcast", "input-twice"),
    ),
    Chapter(
        "Embedding and unembedding",
        "layers/embedding.py",
        "Looking up the rows of a table, where the gradients of repeated tokens are added; the product with the same "
        "table.",
        ("embedding-repeated", "tied-embedding"),
    ),
    Chapter(
        "Positions",
        "layers/positions.py",
        "Encodings of a token's position: a table, sine waves, or rotations of queries and keys.",
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
        "Layer normalization without the mean, which has one path fewer.",
        ("rms-norm-weight",),
    ),
    Chapter(
        "Softmax",
        "layers/softmax.py",
        "Weights that sum to one, the effect of their common sum on the gradient, and the logarithm of softmax.",
        ("softmax-identity", "softmax-diagonal", "log-softmax"),
    ),
    Chapter(
        "Attention",
        "layers/attention.py",
        "An average of values, weighted by the scores of a query with the keys; masks, and heads that share keys.",
        ("attention-transposed", "attention-empty-row", "attention-grouped", "attention-dropout"),
    ),
    Chapter(
        "Multi-head attention",
        "layers/multi_head_attention.py",
        "Several heads in parallel, and the four linear maps around them.",
    ),
    Chapter(
        "Activations",
        "layers/activations.py",
        "ReLU, SiLU and GELU: functions of one number, and their derivatives.",
        ("relu-zero", "gelu-mixed", "tanh-of-dy"),
    ),
    Chapter(
        "Dropout", "layers/dropout.py", "Random zeros in training, with the same mask in backward.", ("dropout-ratio",)
    ),
    Chapter(
        "Feed-forward layers",
        "layers/feed_forward.py",
        "The computation at each position: a wider linear map, an activation or a gate, and a linear map back.",
    ),
    Chapter(
        "The transformer block",
        "layers/block.py",
        "Two steps that add to the residual stream, and the direct path of the gradient past them.",
        ("pre-norm-residual",),
    ),
    Chapter("The transformer", "transformer.py", "From token ids to logits: all parts combined."),
    Chapter(
        "Cross-entropy",
        "losses.py",
        "The loss of the next token, with weights, smoothing and ignored targets. Its gradient is p − target.",
        ("cross-entropy-ignored", "cross-entropy-padding"),
    ),
    Chapter(
        "AdamW, clipping and the schedule",
        "optim.py",
        "The update of the weights: two moving averages with bias correction, a bound on the gradient's norm, and a "
        "learning rate that rises and falls.",
    ),
    Chapter("One page", "one_page.py", "A complete training step, forward and backward, on one page."),
    Chapter("Generation", "generation.py", "From logits to a token, and the cache of keys and values."),
    Chapter(
        "Low-rank adapters",
        "layers/lora.py",
        "Fine-tuning with a fixed matrix and a small trained correction.",
    ),
    Chapter("Recomputation", "layers/recomputation.py", "Less memory at the cost of a second forward pass."),
)
FILM = Leaf(
    "One training step, line by line",
    "film",
    "The one page as a film: every line forward and backward, with its numbers, and thirteen mistakes to plant.",
)
EXAMPLE = Leaf(
    "One training step, every number",
    "worked_example",
    "A model of two positions, computed by hand on two pages.",
)
MUSEUM = Leaf(
    "The museum of wrong gradients",
    "museum",
    "Wrong gradients that other projects released, their corrections, and the checks that missed them.",
)
BELIEFS = Leaf(
    "Misconceptions, tested",
    "misconceptions",
    "Common beliefs about language models, each tested by an experiment of two minutes.",
)
NOTATION = Leaf("How equations are written", "notation", "The syntax of equations, for pages of your own functions.")
