"""Interpretation of trained models through hooks. README.md lists the files."""

from minitransformer.analysis.ablation import mean_head_outputs, without_heads
from minitransformer.analysis.circuits import Circuit, ov_circuit, qk_circuit
from minitransformer.analysis.context import ContextInfluence, context_influence, visualize_context_influence
from minitransformer.analysis.contributions import PositionContributions, position_contributions
from minitransformer.analysis.flow import InformationFlow, trace_information_flow
from minitransformer.analysis.heads import (
    HeadScores,
    attention_rollout,
    attention_weights,
    duplicate_token_score,
    head_scores,
    induction_score,
    induction_targets,
    previous_token_score,
)
from minitransformer.analysis.lens import LogitLens, logit_lens
from minitransformer.analysis.patching import attribution_effects, logit_difference, patch_effects, site
from minitransformer.analysis.patching_maps import PatchingMaps, patch_prompts
from minitransformer.analysis.pictures import draw_attention
from minitransformer.analysis.residual import DirectContributions, direct_contributions
from minitransformer.analysis.tokens import shown, token_strings

__all__ = [
    "attention_weights",
    "previous_token_score",
    "induction_score",
    "induction_targets",
    "duplicate_token_score",
    "head_scores",
    "HeadScores",
    "draw_attention",
    "mean_head_outputs",
    "without_heads",
    "ov_circuit",
    "qk_circuit",
    "Circuit",
    "direct_contributions",
    "DirectContributions",
    "logit_lens",
    "LogitLens",
    "attention_rollout",
    "position_contributions",
    "PositionContributions",
    "patch_prompts",
    "PatchingMaps",
    "patch_effects",
    "attribution_effects",
    "logit_difference",
    "site",
    "trace_information_flow",
    "InformationFlow",
    "visualize_context_influence",
    "context_influence",
    "ContextInfluence",
    "token_strings",
    "shown",
]
