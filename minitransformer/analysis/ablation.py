"""Ablation of attention heads: run the model without them and measure the loss. This tests the head scores of heads.py.

The output of a head is replaced with its mean over a batch, which gives later layers their usual input. (The head may
never produce zero.) If the loss rises, the model depends on the part that differs from position to position. An
unchanged loss does not show that the head has no effect, because another head may have the same effect.
"""

from contextlib import contextmanager

from minitransformer.analysis.hooks import record_in_each_block, replaced_by


def mean_head_outputs(model, ids):
    """Return the mean output (L, H, D) of every head before W_o over all rows and positions of ids (B, T)."""
    return record_in_each_block(model, ids, "attention.heads").mean(axis=(1, 3))


@contextmanager
def without_heads(model, heads, outputs):
    """Replace the outputs of some heads, (block, head) pairs, inside a `with` block.

    `outputs` (L, H, D), such as mean_head_outputs, are the replacements at every position.
    """
    hooks = {}
    for block in {block for block, _ in heads}:
        chosen = sorted({head for b, head in heads if b == block})
        where = (..., chosen, slice(None), slice(None))
        hooks[f"blocks.{block}.attention.heads"] = replaced_by(outputs[block, chosen][:, None], where)
    with model.hooked(hooks):
        yield model
