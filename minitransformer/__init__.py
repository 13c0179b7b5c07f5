"""A decoder-only language model in NumPy, every backward pass written by hand and checked.

README.md in this folder lists the files in reading order, NOTATION.md the symbols. Each public name is loaded on first
use, so importing the package has no side effects and loads nothing else.
"""

from importlib import import_module
from importlib.util import find_spec

from minitransformer.system.version import __version__ as __version__

_PUBLIC = {  # {module: its public names}, in reading order; __init__.pyi repeats them for type checkers
    "module": ("Parameter", "Module", "apply", "plain"),
    "layers.linear": ("linear", "Linear"),
    "layers.lora": ("low_rank", "LowRankLinear"),
    "layers.embedding": ("embedding", "unembedding", "Embedding", "Unembedding"),
    "layers.positions": ("sinusoidal_positions", "rotary"),
    "layers.layer_norm": ("layer_norm", "LayerNorm"),
    "layers.rms_norm": ("rms_norm", "RMSNorm"),
    "layers.softmax": ("softmax", "log_softmax", "Softmax"),
    "layers.attention": ("attention", "causal_mask"),
    "layers.multi_head_attention": ("MultiHeadAttention",),
    "layers.activations": ("relu", "silu", "gelu"),
    "layers.dropout": ("dropout", "Dropout"),
    "layers.feed_forward": ("FeedForward", "GatedFeedForward"),
    "layers.block": ("TransformerBlock",),
    "config": ("Config",),
    "transformer": ("Transformer", "TinyTransformer"),
    "losses": ("cross_entropy",),
    "optim": ("AdamW", "decay_groups", "clip_grad_norm", "cosine_schedule"),
    "generation": ("generate", "KeyValueCache"),
    "text": ("ByteTokenizer", "CharTokenizer", "BPETokenizer"),
    "language_model": ("LanguageModel",),
    "training": ("fine_tune", "fine_tune_for_safety", "LowRank"),
    "training.finetuning.objectives.log_likelihood": ("sequence_log_likelihood",),
    "training.finetuning.objectives.unbounded_difference": ("unbounded_difference",),
    "training.finetuning.objectives.softplus": ("softplus",),
    "training.finetuning.objectives.unlikelihood": ("unlikelihood",),
    "training.finetuning.objectives.direct_preference": ("direct_preference",),
    "analysis": ("trace_information_flow", "visualize_context_influence"),
    "experiments.patterns": ("train_on_simple_patterns", "analyze_learned_patterns"),
    "experiments.influence": ("analyze_training_influence",),
    "experiments.emergence": ("analyze_emergent_capabilities",),
    "system.tuning": ("tune_process",),
}
_MODULE_OF = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = list(_MODULE_OF)


def __getattr__(name):
    """Load a public name, or a module of this package, on first use."""
    if name in _MODULE_OF:
        value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    elif not name.startswith("_") and find_spec(f"{__name__}.{name}"):
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
