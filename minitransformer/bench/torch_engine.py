"""PyTorch as an engine, with the interface of numpy_engine.py. Imported in PyTorch's own process alone.

Three ways to run it:

    torch           eager, with everything at PyTorch's defaults
    torch-fused     eager, with AdamW(fused=True): one pass over memory, in place of one for each of its operations
    torch-compile   the model compiled, forward and backward, and the fused AdamW: as fast as PyTorch gets
"""

import time
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from minitransformer.bench.numpy_engine import CLIP, LEARNING_RATE
from minitransformer.bench.products import Products
from minitransformer.bench.torch_model import TorchTransformer
from minitransformer.transformer import Transformer

aten = torch.ops.aten
PRODUCTS = (aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default)
ATTENTION = (
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    aten._scaled_dot_product_flash_attention_for_cpu_backward.default,
)


class TorchEngine:
    """A model in PyTorch with the weights of this package's, and its optimiser."""

    def __init__(self, config, seed: int = 0, *, fused: bool = False, compiled: bool = False):
        self.model = TorchTransformer(config).load(Transformer(config, seed))
        self.is_compiled = compiled
        self.mean_loss = torch.compile(self.model) if compiled else self.model
        settings = {"fused": True} if fused else {}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, **settings)

    def training_step(self, ids, targets) -> float:
        """Move the weights once; return the loss before."""
        loss = self.mean_loss(torch.from_numpy(ids), torch.from_numpy(targets))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    @torch.inference_mode()
    def loss(self, ids, targets) -> float:
        """Return the loss."""
        return self.mean_loss(torch.from_numpy(ids), torch.from_numpy(targets)).item()

    @torch.inference_mode()
    def stream(self, ids, n: int):
        """Yield n tokens after ids (T,)."""
        caches = self.model.new_caches()
        new, start = torch.from_numpy(ids)[None], 0
        for _ in range(n):
            logits = self.model.last_logits(new, caches, start)
            start += new.shape[-1]
            new = logits.argmax()[None, None]
            yield int(new)

    def share_of_products(self, ids):
        """Return None: what PyTorch could do with its products alone says nothing of this package."""

    def random(self, *shape):
        """Return a float32 tensor of uniform numbers."""
        return torch.rand(*shape)

    @torch.inference_mode()
    def multiply(self, a, b, out):
        """Write a @ b into out."""
        torch.mm(a, b, out=out)

    def begin_anew(self):
        """Do nothing: this engine has no processes that keep anything."""

    def counting_products(self):
        """Count and time the matrix products of a `with` block; None for a compiled model, which hides them.

        Attention is one kernel in PyTorch, softmax and all, and is counted whole.
        """
        return None if self.is_compiled else counted_in_torch()


@contextmanager
def counted_in_torch():
    """Count the products that PyTorch does during a `with` block, which receives the Products."""
    with CountedProducts() as mode:
        yield mode.products


class CountedProducts(TorchDispatchMode):
    """Times each operation that is a matrix product or attention."""

    def __init__(self):
        super().__init__()
        self.products = Products()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        start = time.perf_counter()
        result = function(*arguments, **options or {})
        seconds = time.perf_counter() - start
        if function in PRODUCTS:
            left, right = [argument for argument in arguments if isinstance(argument, torch.Tensor)][-2:]
            self.products.add(seconds, tuple(left.shape), tuple(right.shape), tuple(result.shape))
        elif function in ATTENTION:
            self.products.seconds += seconds
        return result
