"""PyTorch as an engine, with the interface of numpy_engine.py. Only the process of a PyTorch engine imports this file.

torch           eager, with PyTorch's defaults
torch-fused     eager, with AdamW(fused=True), which updates all parameters in one pass over memory
torch-compile   torch.compile for forward and backward, and the fused AdamW
"""

import torch

from minitransformer.bench.numpy_engine import CLIP, LEARNING_RATE
from minitransformer.bench.torch_model import TorchTransformer
from minitransformer.transformer import Transformer


class TorchEngine:
    """A PyTorch model with the initial weights of a Transformer, and its optimizer."""

    def __init__(self, config, seed: int = 0, *, fused: bool = False, compiled: bool = False):
        self.model = TorchTransformer(Transformer(config, seed))
        self.mean_loss = torch.compile(self.model) if compiled else self.model
        settings = {"fused": True} if fused else {}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, **settings)

    def training_step(self, ids, targets) -> float:
        loss = self.mean_loss(torch.from_numpy(ids), torch.from_numpy(targets))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    @torch.inference_mode()
    def stream(self, ids, n: int):
        caches = self.model.new_caches()
        new, start = torch.from_numpy(ids)[None], 0
        for _ in range(n):
            hidden = self.model.hidden(new, caches, start)
            start += new.shape[-1]
            new = self.model.head(hidden[0, -1]).argmax()[None, None]
            yield int(new)

    def restart_replicas(self):
        """Do nothing, because PyTorch uses threads instead of replicas."""

    def random(self, *shape):
        return torch.rand(*shape)

    @torch.inference_mode()
    def multiply(self, a, b, out):
        torch.mm(a, b, out=out)
