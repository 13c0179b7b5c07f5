"""The chapters, in the order in which the map says to read: each is a file of the textbook."""

from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Leaf:
    """A page that is no file's: its title, and its name without .html."""

    title: str
    page: str


@dataclass(frozen=True)
class Chapter:
    """A chapter: its title, the file below the package, and the museum's exhibits that belong to it, by name."""

    title: str
    file: str
    exhibits: tuple = ()

    @property
    def path(self) -> Path:
        """Where the file is."""
        return PACKAGE / self.file

    @property
    def page(self) -> str:
        """The name of its page, without .html."""
        return self.file.rpartition("/")[2].removesuffix(".py")


CHAPTERS = (
    Chapter("Chapter zero: the chain rule", "module.py", ("used-twice", "backward-twice")),
    Chapter("Linear map", "layers/linear.py", ("bias-broadcast", "input-twice")),
    Chapter("Embedding and unembedding", "layers/embedding.py", ("embedding-repeated", "tied-embedding")),
    Chapter("Positions", "layers/positions.py", ("rotary",)),
    Chapter("Layer normalization", "layers/layer_norm.py", ("batch-norm-ones", "layer-norm-rank")),
    Chapter("Root-mean-square normalization", "layers/rms_norm.py", ("rms-norm-weight",)),
    Chapter("Softmax", "layers/softmax.py", ("softmax-identity", "softmax-diagonal", "log-softmax")),
    Chapter(
        "Attention",
        "layers/attention.py",
        ("attention-transposed", "attention-empty-row", "attention-grouped", "attention-dropout"),
    ),
    Chapter("Multi-head attention", "layers/multi_head_attention.py"),
    Chapter("Activations", "layers/activations.py", ("relu-zero", "gelu-mixed", "tanh-of-dy")),
    Chapter("Dropout", "layers/dropout.py", ("dropout-ratio",)),
    Chapter("Feed-forward layers", "layers/feed_forward.py"),
    Chapter("The transformer block", "layers/block.py", ("pre-norm-residual",)),
    Chapter("The transformer", "transformer.py"),
    Chapter("Cross-entropy", "losses.py", ("cross-entropy-ignored", "cross-entropy-padding")),
    Chapter("AdamW, clipping and the schedule", "optim.py"),
    Chapter("One page", "one_page.py"),
    Chapter("Generation", "generation.py"),
    Chapter("Low-rank adapters", "layers/lora.py"),
    Chapter("Recomputation", "layers/recomputation.py"),
)
