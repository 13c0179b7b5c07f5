"""Functions of PyTorch with hand-written backward passes, in the style of public projects.

| function | after |
|---|---|
| `LayerNorm2d` | megvii-research/NAFNet: layer normalization of images over their channels |
| `Swish` | lukemelas/EfficientNet-PyTorch: the swish that keeps only its input, here with a learned slope |
| `Attention` | lucidrains/memory-efficient-attention-pytorch: the weights are computed again in backward |
"""

import torch
from torch.autograd import Function

from gradcheck.adapters import from_torch


class LayerNorm2d(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, eps=1e-3):
        ctx.eps = eps
        C = x.size(1)
        mu = x.mean(1, keepdim=True)
        var = (x - mu).pow(2).mean(1, keepdim=True)
        y = (x - mu) / (var + eps).sqrt()
        ctx.save_for_backward(y, var, weight)
        y = weight.view(1, C, 1, 1) * y + bias.view(1, C, 1, 1)
        return y

    @staticmethod
    def backward(ctx, grad_output):
        eps = ctx.eps
        C = grad_output.size(1)
        y, var, weight = ctx.saved_tensors
        g = grad_output * weight.view(1, C, 1, 1)
        mean_g = g.mean(dim=1, keepdim=True)
        mean_gy = (g * y).mean(dim=1, keepdim=True)
        gx = 1.0 / torch.sqrt(var + eps) * (g - y * mean_gy - mean_g)
        gw = (grad_output * y).sum(dim=3).sum(dim=2).sum(dim=0)
        gb = grad_output.sum(dim=3).sum(dim=2).sum(dim=0)
        return gx, gw, gb, None


class Swish(Function):
    @staticmethod
    def forward(ctx, i, beta):
        result = i * torch.sigmoid(beta * i)
        ctx.save_for_backward(i, beta)
        return result

    @staticmethod
    def backward(ctx, grad_output):
        i, beta = ctx.saved_tensors
        sigmoid_i = torch.sigmoid(beta * i)
        slope = sigmoid_i * (1 - sigmoid_i)
        grad_i = grad_output * (sigmoid_i + beta * i * slope)
        grad_beta = (grad_output * i * i * slope).sum(dim=0)
        return grad_i, grad_beta


class Attention(Function):
    @staticmethod
    def forward(ctx, q, k, v):
        scale = q.shape[-1] ** -0.5
        sim = torch.einsum("bid,bjd->bij", q, k) * scale
        exp_sim = torch.exp(sim)
        p = exp_sim / exp_sim.sum(dim=-1, keepdim=True)
        o = torch.einsum("bij,bjd->bid", p, v)
        ctx.save_for_backward(q, k, v, o)
        ctx.scale = scale
        return o

    @staticmethod
    def backward(ctx, do):
        q, k, v, o = ctx.saved_tensors
        scale = ctx.scale
        attn = torch.einsum("bid,bjd->bij", q, k) * scale
        exp_attn = torch.exp(attn)
        p = exp_attn / exp_attn.sum(dim=-1, keepdim=True)
        dv = torch.einsum("bij,bid->bjd", p, do)
        dp = torch.einsum("bid,bjd->bij", do, v)
        D = (do * o).sum(dim=-1, keepdim=True)
        ds = p * scale * (dp - D)
        dq = torch.einsum("bij,bjd->bid", ds, k)
        dk = torch.einsum("bij,bid->bjd", ds, q)
        return dq, dk, dv


CASES = {  # name: a function of normal(*shape) that returns (function, inputs)
    "LayerNorm2d": lambda normal: (from_torch(LayerNorm2d), (normal(2, 5, 3, 2), normal(5), normal(5))),
    "Swish": lambda normal: (from_torch(Swish), (normal(4, 3), normal(3))),
    "Attention": lambda normal: (from_torch(Attention), (normal(2, 3, 4), normal(2, 5, 4), normal(2, 5, 3))),
}
