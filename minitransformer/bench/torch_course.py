"""The run of course.py in PyTorch, eager, with the same weights, batches, groups and learning rates.

Muon is torch.optim.Muon for the matrices of the blocks. PyTorch's model has the matrices of queries, keys and values in
one, which Muon makes orthogonal as a whole. Only the process of a PyTorch engine imports this file.
"""

import time

import torch

from minitransformer.bench.course import pace_of, prepared
from minitransformer.bench.torch_model import TorchTransformer
from minitransformer.optim import cosine_schedule
from minitransformer.text import IGNORE_INDEX, sequential_blocks
from minitransformer.training.recipes import Recipe


def course(recipe: Recipe, text: list[str] | None, steps: int, seed: int) -> dict:
    run = prepared(recipe, text, steps, seed)
    settings, model = run.settings, TorchTransformer(run.lm.model)
    optimizers = optimizers_of(model, settings)
    groups = [(group, group["lr"] / settings.lr) for optimizer in optimizers for group in optimizer.param_groups]
    marks = [time.perf_counter()]
    for step in range(steps):
        rate = cosine_schedule(
            step, lr=settings.lr, min_lr=settings.final_lr, warmup=settings.warmup_steps, steps=steps
        )
        for group, ratio in groups:
            group["lr"] = rate * ratio
        [(ids, targets)], _ = run.draw()
        model(torch.from_numpy(ids), torch.from_numpy(targets)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        marks.append(time.perf_counter())
    return {"loss": mean_loss(model, run.corpus.val_ids, settings.batch_size), "pace": pace_of(marks)}


def optimizers_of(model: TorchTransformer, settings) -> list:
    """Return AdamW, or Muon for the matrices of the blocks and AdamW for the rest. Only matrices of blocks decay."""
    matrices = [parameter for parameter in model.blocks.parameters() if parameter.ndim == 2]
    known = {id(parameter) for parameter in matrices}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in known]
    adamw = {"lr": settings.lr, "betas": settings.betas}
    decayed = {"params": matrices, "weight_decay": settings.weight_decay}
    if settings.optimizer == "muon":
        muon = torch.optim.Muon(matrices, lr=settings.muon_lr, weight_decay=settings.weight_decay)
        return [torch.optim.AdamW(rest, weight_decay=0.0, **adamw), muon]
    return [torch.optim.AdamW([decayed, {"params": rest, "weight_decay": 0.0}], **adamw)]


@torch.inference_mode()
def mean_loss(model: TorchTransformer, ids, batch_size: int) -> float:
    total = 0.0
    for inputs, targets in sequential_blocks(ids, model.config.context, batch_size):
        loss = model(torch.from_numpy(inputs), torch.from_numpy(targets))
        total += float(loss) * int((targets != IGNORE_INDEX).sum())
    return total / (len(ids) - 1)
