"""A decoder-only language model in NumPy, every backward pass written by hand and checked.

**Read: the textbook.** Each formula in its plain form, each gradient with its derivation beside it, in reading order:

    module.py                       Parameter, Module, apply, hooks: the whole framework
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
    config.py                       its sizes and choices
    transformer.py                  the model
    losses.py                       cross-entropy
    optim.py                        AdamW, clipping, the learning-rate schedule
    generation.py                   sampling, the key–value cache
    layers/lora.py                  fine-tuning: a matrix that stays, and a small correction that is learned

**Use: the program.** What makes of a model something that is trained, kept, asked and looked into:

    text/                           tokenizers, corpora, simple patterns
    language_model.py               text in, text out; saving and loading
    training/                       pretraining, fine-tuning, checkpoints
    analysis/                       what a trained model does, seen from inside
    cases.py                        what every check draws its inputs from
    verification.py                 the gradient of a whole trained model, verified
    cli.py                          the command line
    commands/                       its commands, one a file
    demonstration/                  what `demo` shows
    bench/                          how fast, how large, and how cost grows: what `bench` measures
    interop/                        real models: weights, tokenizers and chat of GPT-2, Llama and SmolLM2
    extras.py                       optional packages, asked for by name

**Skip: the engine**, and what else is there for speed, memory and files alone:

    fast/                           the same functions in less time (`minitransformer.plain()` does without)
    layers/recomputation.py         memory for time
    cores.py                        how many there are, and how work is spread over them
    allocator.py                    what makes large arrays cheap to allocate
    archive.py                      files written whole or not at all
    unset.py                        weights that are still to come

The symbols, everywhere:

    B  batch                                 H  query heads
    T  positions (Tq of queries, Tk of keys)  K  key–value heads
    C  channels, the model's width           D  channels per head
    F  hidden width of the feed-forward      V  vocabulary
    L  layers; in derivations, the loss

`dx` is ∂L/∂x and has the shape of x. Weights are (in, out): a linear map reads x @ weight.
"""

from minitransformer import cores  # isort: skip  # noqa: F401 — before anything imports NumPy: see there
from importlib.util import find_spec

from minitransformer.allocator import keep_freed_memory
from minitransformer.analysis import (
    analyze_emergent_capabilities,
    analyze_learned_patterns,
    analyze_training_influence,
    trace_information_flow,
    visualize_context_influence,
)
from minitransformer.config import Config
from minitransformer.generation import KeyValueCache, generate
from minitransformer.language_model import LanguageModel
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
from minitransformer.text import BPETokenizer, ByteTokenizer, CharTokenizer
from minitransformer.training import LowRank, fine_tune, fine_tune_for_safety, train_on_simple_patterns
from minitransformer.training.finetuning.objectives import (
    direct_preference,
    sequence_log_likelihood,
    softplus,
    unbounded_difference,
    unlikelihood,
)
from minitransformer.transformer import TinyTransformer, Transformer

if find_spec("minitransformer.fast"):
    from minitransformer import fast  # noqa: F401 — its twins are in use from here on

__version__ = "0.1.0"

keep_freed_memory()

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
