"""Twenty named bugs, each planted in a function of the package in memory, are found by the checks of its gradients.

The first eight were found in published projects, whose own tests passed. The others are mistakes that the audit does
not make (in an engine's bookkeeping, in a module, over several lines), or that no single layer shows. The audit makes
the others; test_trust.py runs a sample of it.
"""

import contextlib
import itertools
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import gradcheck
import minitransformer
from gradcheck import GradientError
from gradcheck.audit import live_functions, planted
from gradcheck.checking import check_call
from gradcheck.mistakes.sources import find_closures
from gradcheck.museum import EXHIBITS
from minitransformer.cases import CASES

# The bug, the file, a pattern of the cases in which a gradient is wrong, and the gradient; then the difference, whose
# first lines stand once in the file.
CANARIES = r"""
dK is not transposed | layers/attention.py | attention, square | dk
- dk = s * dscores.swapaxes(-1, -2) @ q
+ dk = s * dscores @ q

γ stands outside the means | layers/layer_norm.py | layer_norm | dx
- dx = r * (dx_hat - shift - x_hat * scale)
+ dx = r * gamma * (dy - dy.mean(-1, keepdims=True) - x_hat * (dy * x_hat).mean(-1, keepdims=True))

attention ignores dropout | layers/attention.py | attention, dropout | dq
- dweights = on_weights_backward(dchanged)
+ dweights = dchanged

half of a tied gradient is dropped | layers/embedding.py | Transformer, Llama-like, tied | embedding.weight.grad
- return apply(unembedding, x, self.weight)
+ y, function_backward = unembedding(x, self.weight.data)
+         return y, lambda dy: function_backward(dy)[0]

attention's backward is zeros | layers/attention.py | attention$ | dq
- dk, dv = sum_over_groups(dkeys, G), sum_over_groups(dvalues, G)
+ dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)

softmax's backward is y · dy | layers/softmax.py | softmax$ | dx
- dx = y * (dy - weighted_sum)
+ dx = y * dy

softmax's backward is zeros | layers/softmax.py | softmax$ | dx
- dx = y * (dy - weighted_sum)
+ dx = np.zeros_like(dy)

the loss averages over ignored positions | losses.py | cross_entropy$ | dlogits
- share * np.asarray(dloss, dtype)
+ np.asarray(dloss, dtype) * (1 / targets.size)

repeated ids overwrite each other | layers/embedding.py | embedding | dweight
- np.add.at(dweight, ids, dy)
+ dweight[ids] = dy

a module exchanges the gradients of its parameters | layers/layer_norm.py | LayerNorm | gamma.grad
- return apply(layer_norm, x, self.gamma, self.beta, eps=self.eps)
+ y, backward = layer_norm(x, self.gamma.data, self.beta.data, eps=self.eps)
+
+         def exchanged(dy):
+             dx, dgamma, dbeta = backward(dy)
+             self.gamma.accumulate(dbeta)
+             self.beta.accumulate(dgamma)
+             return dx
+
+         return y, exchanged

RMS norm has the shift of layer norm | layers/rms_norm.py | rms_norm | dx
- dx = r * (dx_hat - x_hat * scale)
+ dx = r * (dx_hat - dx_hat.mean(axis=-1, keepdims=True) - x_hat * scale)

attention forgets its mask | layers/attention.py | attention, causal | dq
- dscores = softmax_backward(dweights)
+ dscores = softmax(scores)[1](dweights)

recomputation draws another dropout | layers/recomputation.py | Dropout, checkpointed | dx
- before, was_plain = copy.deepcopy(rng), is_plain()
-     y = module(x, rng=rng, **options)[0]
+ y, before, was_plain = module(x, rng=rng, **options)[0], copy.deepcopy(rng), is_plain()

the rotation is not undone | layers/multi_head_attention.py | MultiHeadAttention, grouped, rotary | w_q.weight.grad
- return through(xw, [partial(into_heads, d_head=d_head), *steps])
+ y, _ = through(xw, [partial(into_heads, d_head=d_head), *steps])
+     return y, merge

a residual path is missing | layers/block.py | TransformerBlock, Llama | dx
- dr = dy + norm2_backward(
+ dr = norm2_backward(

only the last gradient of a parameter is kept | module.py | Transformer, Llama-like, tied | embedding.weight.grad
- self.grad = grad if self.grad is None else self.grad + grad
+ self.grad = grad

positions have the mean over the batch | transformer.py | Transformer, GPT-2-like$ | positional_embedding.weight.grad
- de.sum(axis=tuple(range(de.ndim - 2)))
+ de.mean(axis=tuple(range(de.ndim - 2)))

the engine's dK is not transposed | fast/attention.py | fast.attention, square | dk
- dk = dscores.swapaxes(-1, -2) @ q_grouped
+ dk = dscores @ q_grouped

a block's share of dk overwrites the others | fast/query_blocks.py | in_query_blocks | dk
- dk[..., keys, :] +=
+ dk[..., keys, :] =

the engine's GELU has a wrong constant | fast/gelu.py | fast.gelu, tanh | dx
- square *= 6 * a * c
+ square *= 2 * a * c
"""


def bugs():
    """Yield (name, file, pattern of cases, gradient, right code, wrong code) of each bug."""
    for text in CANARIES.strip("\n").split("\n\n"):
        header, *lines = text.splitlines()
        right, wrong = ("\n".join(line[2:] for line in lines if line[0] == sign) for sign in "-+")
        yield *header.split(" | "), right, wrong


def plant(package, file, old, new):
    """Replace `old`, which must occur once in a file, by `new` within the `with` block."""
    path = Path(package.__file__).parent.resolve() / file
    source = path.read_text("utf-8")
    assert source.count(old) == 1, f"{old.strip()!r} is not in {file}: plant this bug in the code as it is now"
    line = source.partition(old)[0].count("\n") + 1
    around = [c for c in find_closures(path, ["*"]) if c.node.lineno <= line <= c.node.end_lineno]
    mutant = SimpleNamespace(path=path, function=around[-1].qualname, mutated_source=source.replace(old, new))
    return planted(mutant, live_functions({str(path)}))


@pytest.mark.one_in(8)
@pytest.mark.parametrize(
    "file, pattern, gradient, right, wrong",
    [pytest.param(*bug, id=name) for name, *bug in bugs()],
)
def test_a_planted_bug_is_found_by_the_gradient_it_spoils(file, pattern, gradient, right, wrong):
    cases, found = [case for case in CASES if re.match(pattern, case.name)], ""
    names_it = re.compile(rf"\b{re.escape(gradient)}: \d+ of \d+ .*entries disagree")
    earlier = [case.call(np.random.default_rng(0)).evaluate() for case in cases]  # closures without the bug
    with plant(minitransformer, file, right, wrong):
        for case in cases:
            try:
                check_call(case.call(np.random.default_rng(0)), max_entries=5, explain=False)
            except GradientError as error:
                found += str(error)
            if names_it.search(found):  # an error of a whole model takes a second to examine
                break
    assert earlier and names_it.search(found), found


CHECKERS = [  # bugs of the checker: (name, file, old, new)
    (
        *("the numerical gradient is 1.5 times the truth", "central_differences.py"),
        *("    return float(np.sum(", "    return 1.5 * float(np.sum("),
    ),
    ("every gradient is called right", "report.py", "return not (self.disagree or", "return True or ("),
    ("dy is ones", "contract.py", "else rng.standard_normal(y.shape)", "else np.ones(y.shape)"),
]


def is_sound():
    """Return True if the checker accepts right gradients and rejects wrong ones."""
    accepted = {True: [], False: []}
    for exhibit, wrong in itertools.product(EXHIBITS[:6], accepted):
        with contextlib.suppress(ValueError):  # some refuse a dy of ones
            accepted[wrong].append(exhibit.examine(wrong, explain=False).is_right)
    return all(accepted[False]) and not any(accepted[True])


@pytest.mark.parametrize("name, file, old, new", CHECKERS, ids=[name for name, *_ in CHECKERS])
def test_a_bug_of_the_checker_is_found(name, file, old, new):
    assert is_sound()
    with plant(gradcheck, file, old, new):
        assert not is_sound()
