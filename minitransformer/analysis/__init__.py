"""What a trained model does, seen from inside.

In reading order:

    heads.py          what attention heads attend to, and scores of it   attention_weights, induction_score, …
    pictures.py       pictures of that                                   draw_attention
    ablation.py       what a model does without some of its heads        without_heads, mean_head_outputs
    circuits.py       where a head looks and what it moves, by weights   ov_circuit, qk_circuit
    residual.py       what each layer writes to a logit                  direct_contributions
    lens.py           what the model would say after each layer          logit_lens
    rollout.py        attention followed through the layers              attention_rollout
    contributions.py  what each position is worth to a prediction        position_contributions
    patching.py       one activation from another prompt                 patch_effects, attribution_effects, …
    patching_maps.py  what carries the difference between two prompts    patch_prompts
    flow.py           all of this about one prediction                   trace_information_flow
    context.py        attention beside ablation, token by token          visualize_context_influence
    flow_pictures.py  pictures of these three, which their draw(path) makes
    data.py           what was found, as JSON can hold it
    shading.py        shades of a colour, in a terminal and in pictures
    tokens.py         tokens as people read them                         token_strings, shown
    page/             all of it on one page, for a browser               write_page

What trains models to find something out is in experiments/.
"""

from minitransformer.analysis.ablation import mean_head_outputs, without_heads
from minitransformer.analysis.circuits import Circuit, ov_circuit, qk_circuit
from minitransformer.analysis.context import ContextInfluence, context_influence, visualize_context_influence
from minitransformer.analysis.contributions import PositionContributions, position_contributions
from minitransformer.analysis.flow import InformationFlow, trace_information_flow
from minitransformer.analysis.heads import (
    HeadScores,
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
from minitransformer.analysis.rollout import attention_rollout
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
