"""What a trained model does, seen from inside.

In reading order:

    heads.py      what attention heads attend to, and scores of it   attention_weights, induction_score, …
    pictures.py   pictures of that                                   draw_attention
"""

from minitransformer.analysis.heads import attention_weights, induction_score, induction_targets, previous_token_score
from minitransformer.analysis.pictures import draw_attention

__all__ = ["attention_weights", "previous_token_score", "induction_score", "induction_targets", "draw_attention"]
