"""The public names, for type checkers and for __init__.py, which loads each of them on first use."""

from minitransformer.analysis import (
    trace_information_flow as trace_information_flow,
    visualize_context_influence as visualize_context_influence,
)
from minitransformer.config import Config as Config
from minitransformer.experiments.emergence import analyze_emergent_capabilities as analyze_emergent_capabilities
from minitransformer.experiments.influence import analyze_training_influence as analyze_training_influence
from minitransformer.experiments.patterns import (
    analyze_learned_patterns as analyze_learned_patterns,
    train_on_simple_patterns as train_on_simple_patterns,
)
from minitransformer.generation import generate as generate
from minitransformer.language_model import LanguageModel as LanguageModel
from minitransformer.layers.activations import gelu as gelu, relu as relu, silu as silu
from minitransformer.layers.attention import attention as attention, causal_mask as causal_mask
from minitransformer.layers.block import TransformerBlock as TransformerBlock
from minitransformer.layers.dropout import Dropout as Dropout, dropout as dropout
from minitransformer.layers.embedding import (
    Embedding as Embedding,
    Unembedding as Unembedding,
    embedding as embedding,
    unembedding as unembedding,
)
from minitransformer.layers.feed_forward import FeedForward as FeedForward, GatedFeedForward as GatedFeedForward
from minitransformer.layers.layer_norm import LayerNorm as LayerNorm, layer_norm as layer_norm
from minitransformer.layers.linear import Linear as Linear, linear as linear
from minitransformer.layers.lora import LowRankLinear as LowRankLinear, low_rank as low_rank
from minitransformer.layers.modern.balancing_bias import balancing_bias as balancing_bias
from minitransformer.layers.modern.delta_rule import delta_rule as delta_rule
from minitransformer.layers.modern.grpo import grpo as grpo
from minitransformer.layers.modern.latent_attention import (
    LatentAttention as LatentAttention,
    absorbed_attention as absorbed_attention,
    latent_attention as latent_attention,
)
from minitransformer.layers.modern.load_balance import load_balance as load_balance
from minitransformer.layers.modern.mixture_of_experts import mixture_of_experts as mixture_of_experts
from minitransformer.layers.modern.reinforce import reinforce as reinforce
from minitransformer.layers.modern.relu_squared import relu_squared as relu_squared
from minitransformer.layers.modern.sigmoid import sigmoid as sigmoid
from minitransformer.layers.modern.sink_softmax import sink_softmax as sink_softmax
from minitransformer.layers.modern.softcap import softcap as softcap
from minitransformer.layers.modern.top_k_gates import top_k_gates as top_k_gates
from minitransformer.layers.multi_head_attention import MultiHeadAttention as MultiHeadAttention
from minitransformer.layers.positions import rotary as rotary, sinusoidal_positions as sinusoidal_positions
from minitransformer.layers.rms_norm import RMSNorm as RMSNorm, rms_norm as rms_norm
from minitransformer.layers.softmax import Softmax as Softmax, log_softmax as log_softmax, softmax as softmax
from minitransformer.losses import cross_entropy as cross_entropy
from minitransformer.module import Module as Module, Parameter as Parameter, apply as apply, plain as plain
from minitransformer.muon import Muon as Muon, orthogonalize as orthogonalize
from minitransformer.optim import (
    AdamW as AdamW,
    clip_grad_norm as clip_grad_norm,
    cosine_schedule as cosine_schedule,
    decay_groups as decay_groups,
)
from minitransformer.system.tuning import tune_process as tune_process
from minitransformer.system.version import __version__ as __version__
from minitransformer.text import (
    BPETokenizer as BPETokenizer,
    ByteTokenizer as ByteTokenizer,
    CharTokenizer as CharTokenizer,
)
from minitransformer.training import (
    LowRank as LowRank,
    fine_tune as fine_tune,
    fine_tune_for_safety as fine_tune_for_safety,
)
from minitransformer.training.finetuning.objectives.direct_preference import direct_preference as direct_preference
from minitransformer.training.finetuning.objectives.log_likelihood import (
    sequence_log_likelihood as sequence_log_likelihood,
)
from minitransformer.training.finetuning.objectives.softplus import softplus as softplus
from minitransformer.training.finetuning.objectives.unbounded_difference import (
    unbounded_difference as unbounded_difference,
)
from minitransformer.training.finetuning.objectives.unlikelihood import unlikelihood as unlikelihood
from minitransformer.transformer import (
    KeyValueCache as KeyValueCache,
    TinyTransformer as TinyTransformer,
    Transformer as Transformer,
)
