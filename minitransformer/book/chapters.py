"""The pages of the book in reading order. The chapters are files of the textbook."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Leaf:
    """A page: title, source file of a chapter or name of another page, a sentence, and names of museum exhibits."""

    title: str
    file: str
    about: str
    exhibits: tuple

    @property
    def path(self) -> Path:
        return PACKAGE / self.file

    @property
    def page(self) -> str:
        return self.path.stem


TABLE = """
First steps | first_steps.py
    Gradients by hand with numbers: a product, a neuron, two shares, and attention for one query in loops. A
    gradient checker in fifteen lines finds a planted mistake.
Chapter zero: the chain rule | module.py | used-twice | backward-twice
    The definition of a gradient, why the contributions of paths are added, and why backward runs from the last step
    to the first; then the complete framework.
Linear map | layers/linear.py | bias-broadcast | input-twice
    A product with a matrix, and the two matrix products that are its gradients.
Embedding and unembedding | layers/embedding.py | embedding-repeated | tied-embedding
    Looking up the rows of a table, where the gradients of repeated tokens are added; the product with the same
    table.
Positions | layers/positions.py | rotary
    Encodings of a token's position: a table, sine waves, or rotations of queries and keys.
Layer normalization | layers/layer_norm.py | batch-norm-ones | layer-norm-rank
    Mean 0 and variance 1 for each position, and the three paths by which x reaches the result.
Root-mean-square normalization | layers/rms_norm.py | rms-norm-weight
    Layer normalization without the mean, which has one path fewer.
Softmax | layers/softmax.py | softmax-identity | softmax-diagonal | log-softmax
    Weights that sum to one, the effect of their common sum on the gradient, and the logarithm of softmax.
Attention | layers/attention.py | attention-transposed | attention-empty-row | attention-grouped | attention-dropout
    An average of values, weighted by the scores of a query with the keys; masks, and heads that share keys.
Multi-head attention | layers/multi_head_attention.py
    Several heads in parallel, and the four linear maps around them.
Activations | layers/activations.py | relu-zero | gelu-mixed | tanh-of-dy
    ReLU, SiLU and GELU: functions of one number, and their derivatives.
Dropout | layers/dropout.py | dropout-ratio
    Random zeros in training, with the same mask in backward.
Feed-forward layers | layers/feed_forward.py
    The computation at each position: a wider linear map, an activation or a gate, and a linear map back.
The transformer block | layers/block.py | pre-norm-residual
    Two steps that add to the residual stream, and the direct path of the gradient past them.
The transformer | transformer.py
    From token ids to logits: all parts combined.
Cross-entropy | losses.py | cross-entropy-ignored | cross-entropy-padding
    The loss of the next token, with weights, smoothing and ignored targets. Its gradient is p − target.
AdamW, clipping and the schedule | optim.py
    The update of the weights: two moving averages with bias correction, a bound on the gradient's norm, and a
    learning rate that rises and falls.
One page | one_page.py
    A complete training step, forward and backward, on one page.
Generation | generation.py
    From logits to a token, and the cache of keys and values.
Low-rank adapters | layers/lora.py
    Fine-tuning with a fixed matrix and a small trained correction.
Recomputation | layers/recomputation.py
    Less memory at the cost of a second forward pass.
One training step, line by line | film
    The one page as a film: every line forward and backward, with its numbers, and thirteen mistakes to plant.
One training step, every number | worked_example
    A model of two positions, computed by hand on two pages.
The museum of wrong gradients | museum
    Wrong gradients that other projects released, their corrections, and the checks that missed them.
Misconceptions, tested | misconceptions
    Common beliefs about language models, each tested by an experiment of two minutes.
How equations are written | notation
    The syntax of equations, for pages of your own functions.
"""


def read(table: str) -> Iterator[Leaf]:
    """Yield a Leaf for each line `title | file | exhibits`. The indented lines below it are its sentence."""
    for entry in re.split(r"\n(?! )", table.strip()):
        head, *about = entry.split("\n")
        title, file, *exhibits = head.split(" | ")
        yield Leaf(title, file, " ".join(map(str.strip, about)), tuple(exhibits))


LEAVES = tuple(read(TABLE))
CHAPTERS = tuple(leaf for leaf in LEAVES if leaf.file.endswith(".py"))
(BELIEFS,) = (leaf.title for leaf in LEAVES if leaf.page == "misconceptions")
