"""A decoder-only language model in NumPy, every backward pass written by hand and checked.

**Read: the textbook.** Each formula in its plain form, each gradient with its derivation beside it, in reading order:

    module.py                       chapter zero, the chain rule; Parameter, Module, apply, hooks: the whole framework
    layers/linear.py                a product with a matrix, and the two products of its gradient
    layers/embedding.py             a table of tokens, and its mirror image
    layers/positions.py             learned, sinusoidal and rotary positions
    layers/layer_norm.py            layer normalization
    layers/rms_norm.py              its simpler relative
    layers/softmax.py               softmax and its logarithm
    layers/attention.py             scaled dot-product attention, masks, grouped heads
    layers/multi_head_attention.py  several heads side by side
    layers/activations.py           ReLU, SiLU, GELU
    layers/dropout.py               noise that trains
    layers/feed_forward.py          what happens at each position by itself
    layers/block.py                 two residual steps
    config.py                       the sizes and choices of a model
    transformer.py                  the model
    losses.py                       cross-entropy
    optim.py                        AdamW, clipping, the learning-rate schedule
    one_page.py                     a whole training step, forward and backward, straight down one page
    generation.py                   sampling, the key–value cache
    layers/lora.py                  fine-tuning: a matrix that stays, and a small correction that is learned

**Use: the program.** What it takes to train a model, keep it, ask it and look into it:

    text/                           tokenizers, corpora, simple patterns
    language_model.py               text in, text out; saving and loading
    training/                       pretraining, fine-tuning, checkpoints
    analysis/                       what a trained model does, seen from inside
    experiments/                    what trains models to find something out; what `demo` shows
    cases.py                        what every check draws its inputs from
    verification.py                 the gradient of a whole trained model, verified
    interop/                        real models: weights, tokenizers and chat of GPT-2, Llama and SmolLM2
    book/                           the derivations as pages, typeset and executed; handouts, worksheets
    learn/                          the derivations as exercises, graded line by line
    cli.py                          the command line
    commands/                       its commands, one a file
    bench/                          how fast, how large, and how cost grows: what `bench` measures
    values.py                       what a setting may be, and what is said where it is not
    pictures.py                     one look for all pictures
    system/                         the terminal, signals, tables, progress, optional packages

**Skip at first: the engine**, and what else is there for speed, memory and files alone:

    fast/                           the same functions in less time (`minitransformer.plain()` does without)
    layers/recomputation.py         memory for time
    bounded.py                      other people's code, within limits of time and memory
    cores.py                        how many there are, and how work is spread over them
    crowd.py                        who else wants them
    allocator.py                    what makes large arrays cheap to allocate
    archive.py                      named arrays in a file, and what they are
    files.py                        files written whole or not at all
    folders.py                      folders that one run at a time works in
    unset.py                        weights that are still to come
    version.py                      its number

**Notation.** Sizes are the same everywhere:

    B  batch                                  H  query heads
    T  positions (Tq of queries, Tk of keys)  K  key–value heads
    C  channels, the model's width            D  channels per head
    F  hidden width of the feed-forward       V  vocabulary
    L  layers; in derivations, the loss       I, O  features in and out of a linear map

and so are these:

    x, y      what a function takes and what it gives
    dX        ∂L/∂X, the gradient by X, of X's shape
    W, b      a weight (in, out) and a bias: a linear map is x W + b, in code x @ weight + bias; the unembedding alone
              has the embedding's (V, C), and is x Wᵀ
    X Y       a product of matrices; X · Y is entry by entry, and so is a number times an array
    Xᵀ        X transposed; fᵀ(dy) is what f's backward makes of dy
    x_i, x_pi an entry of x; i, j, c, d, o, v number features, classes, queries or keys, and p positions
    Σ, Σ_i    the sum, over i, or over what the text says; mean likewise
    δ_ij      1 for i = j, 0 otherwise; so [condition] is 1 where it holds
    N(m, s²)  the normal distribution of mean m and deviation s
    X′        X after a step; of a function, its derivative
    X ← Y     X becomes Y
    (..., C)  a shape: any number of axes, then one of C entries
    `# (6) ← γ · x̂ (5)`  after a line of code: it works out the first equation, and mirrors this part of the second

Other letters mean in each file what its text says. In the numbered equations of the textbook and the engine
these are

    A  the sum of the coefficients a (losses); the first adapter (lora)
    B  the second adapter (lora)
    N  positions in the original context (positions)
    P  the table of sinusoids (positions)
    S  steps of the schedule (optim)
    a  an activation's value (feed_forward); coefficient of a class (losses); a pair's first channel (positions)
    b  a pair's second channel (positions)
    c  a class (losses); what corrects an old maximum (blocked_attention)
    e  exponentials (softmax, blocked_attention); the tokens' rows (transformer)
    f  an activation (feed_forward); a module (recomputation); a block's first key (query_blocks)
    g  the gate (feed_forward); a gradient (optim)
    h  hidden features (feed_forward, lora); what leaves the last block (transformer)
    i  a pair (positions)
    k  keys (attention, multi_head_attention, blocked_attention, head_groups, query_blocks)
    l  sum of exponentials (blocked_attention); after a block's last key (query_blocks)
    m  the largest entry (softmax, blocked_attention); average of the gradient (optim)
    m̂  m, corrected (optim)
    o  sum of values (blocked_attention)
    p  a position (linear); probabilities (losses, generation); probability of dropping (dropout); gate times
       u (feed_forward); the positions' rows (transformer)
    q  queries (attention, multi_head_attention, blocked_attention, head_groups, query_blocks)
    r  one over the root (layer_norm, rms_norm); the stream between two steps (block)
    s  a scale (attention, blocked_attention, lora, positions)
    t  a target (losses); a step (optim); a position (positions)
    u  what the gate lets through (feed_forward); argument of tanh (activations)
    v  values (attention, multi_head_attention, blocked_attention, head_groups, query_blocks); a row of the vocabulary
       (embedding); average of the squared gradient (optim)
    v̂  v, corrected (optim)
    w  weight of a class (losses); steps of warm-up (optim)
    x̂  x, normalized (layer_norm, rms_norm)
    z  logarithms of probabilities (softmax, losses); logits (generation)
    Φ  the normal distribution function (activations)
    β  a norm's shift (layer_norm); β₁ and β₂, the memory of two averages (optim)
    γ  a norm's gain (layer_norm, rms_norm)
    δ  what softmax subtracts in a row (blocked_attention)
    ε  what keeps a divisor from zero (layer_norm, rms_norm, optim); label smoothing (losses)
    θ  a parameter (optim)
    λ  weight decay (optim); logarithm of the sum of exponentials (blocked_attention)
    μ  the mean (layer_norm)
    σ  logistic function (activations); σ² the variance (layer_norm)
    τ  temperature (generation)
    φ  density of that distribution (activations)
    ω  frequency of a pair (positions)
    ℓ  loss of a position (losses)
"""

import sys  # isort: skip

if "".join(sys.argv[:1]).endswith(("-m", "minitransformer", "minitransformer.exe")):  # no library, it seems
    from minitransformer.system.stopping import is_program, leave_when_stopped  # before anything else: see there

    if is_program("minitransformer"):
        leave_when_stopped("minitransformer")

from minitransformer import cores  # isort: skip  # noqa: F401 — before anything imports NumPy: see there
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from minitransformer.allocator import keep_freed_memory
from minitransformer.archive import FOREIGN
from minitransformer.config import Config
from minitransformer.generation import KeyValueCache, generate
from minitransformer.layers.activations import gelu, relu, silu
from minitransformer.layers.attention import attention, causal_mask
from minitransformer.layers.block import TransformerBlock
from minitransformer.layers.dropout import Dropout, dropout
from minitransformer.layers.embedding import Embedding, Unembedding, embedding, unembedding
from minitransformer.layers.feed_forward import FeedForward, GatedFeedForward
from minitransformer.layers.layer_norm import LayerNorm, layer_norm
from minitransformer.layers.linear import Linear, linear
from minitransformer.layers.lora import LowRankLinear, low_rank
from minitransformer.layers.multi_head_attention import MultiHeadAttention
from minitransformer.layers.positions import rotary, sinusoidal_positions
from minitransformer.layers.rms_norm import RMSNorm, rms_norm
from minitransformer.layers.softmax import Softmax, log_softmax, softmax
from minitransformer.losses import cross_entropy
from minitransformer.module import Module, Parameter, apply, plain
from minitransformer.optim import AdamW, clip_grad_norm, cosine_schedule, decay_groups
from minitransformer.transformer import TinyTransformer, Transformer
from minitransformer.version import __version__  # noqa: F401 — for whoever asks

if TYPE_CHECKING:  # what is loaded when it is asked for: see __getattr__
    from minitransformer.analysis import trace_information_flow, visualize_context_influence
    from minitransformer.experiments.emergence import analyze_emergent_capabilities
    from minitransformer.experiments.influence import analyze_training_influence
    from minitransformer.experiments.patterns import analyze_learned_patterns, train_on_simple_patterns
    from minitransformer.language_model import LanguageModel
    from minitransformer.text import BPETokenizer, ByteTokenizer, CharTokenizer
    from minitransformer.training import LowRank, fine_tune, fine_tune_for_safety
    from minitransformer.training.finetuning.objectives import (
        direct_preference,
        sequence_log_likelihood,
        softplus,
        unbounded_difference,
        unlikelihood,
    )

if find_spec("minitransformer.fast"):
    from minitransformer import fast  # noqa: F401 — its twins are in use from here on

keep_freed_memory()


def load_foreign(path):
    """Return interop.load_pretrained(path): what LanguageModel.load does with a file that others wrote."""
    return import_module(f"{__name__}.interop").load_pretrained(path)


FOREIGN["load"] = load_foreign

# The room of each public name that is not of the textbook. A room is loaded when it, or a name in it, is asked for.
_ROOMS = {
    "analysis": ("trace_information_flow", "visualize_context_influence"),
    "experiments.emergence": ("analyze_emergent_capabilities",),
    "experiments.influence": ("analyze_training_influence",),
    "experiments.patterns": ("analyze_learned_patterns", "train_on_simple_patterns"),
    "language_model": ("LanguageModel",),
    "text": ("ByteTokenizer", "CharTokenizer", "BPETokenizer"),
    "training": ("fine_tune", "fine_tune_for_safety", "LowRank"),
    "training.finetuning.objectives": (
        "sequence_log_likelihood",
        "unbounded_difference",
        "softplus",
        "unlikelihood",
        "direct_preference",
    ),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name):
    """Load a name of _ROOMS, or a module of this package, when it is first asked for."""
    if name in _ROOM_OF:
        value = getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    elif not name.startswith("_") and find_spec(f"{__name__}.{name}"):
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})


__all__ = [
    "Parameter",
    "Module",
    "apply",
    "plain",
    "linear",
    "Linear",
    "low_rank",
    "LowRankLinear",
    "embedding",
    "unembedding",
    "Embedding",
    "Unembedding",
    "sinusoidal_positions",
    "rotary",
    "layer_norm",
    "LayerNorm",
    "rms_norm",
    "RMSNorm",
    "softmax",
    "log_softmax",
    "Softmax",
    "attention",
    "causal_mask",
    "MultiHeadAttention",
    "relu",
    "silu",
    "gelu",
    "dropout",
    "Dropout",
    "FeedForward",
    "GatedFeedForward",
    "TransformerBlock",
    "Config",
    "Transformer",
    "TinyTransformer",
    "cross_entropy",
    "AdamW",
    "decay_groups",
    "clip_grad_norm",
    "cosine_schedule",
    "ByteTokenizer",
    "CharTokenizer",
    "BPETokenizer",
    "generate",
    "KeyValueCache",
    "LanguageModel",
    "fine_tune",
    "fine_tune_for_safety",
    "LowRank",
    "sequence_log_likelihood",
    "unbounded_difference",
    "softplus",
    "unlikelihood",
    "direct_preference",
    "train_on_simple_patterns",
    "analyze_learned_patterns",
    "trace_information_flow",
    "visualize_context_influence",
    "analyze_training_influence",
    "analyze_emergent_capabilities",
]
