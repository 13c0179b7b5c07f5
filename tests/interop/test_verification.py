"""The gradient of a whole model, verified: right ones pass, and each planted mistake is found and its tensor named."""

from dataclasses import replace

import numpy as np
import pytest
import strategies
from small_runs import assert_same_weights, small_lm, weights
from strategies import random_model

from minitransformer import Config, LanguageModel
from minitransformer.cli import main
from minitransformer.interop.verification import parts_of, verify_gradient
from minitransformer.layers.feed_forward import FEED_FORWARDS, swiglu

SIZES = {"vocab_size": 30, "context": 9, "d_model": 12, "n_heads": 3, "n_layers": 3}
GPT2 = Config(**SIZES, feed_forward="gelu_tanh")
LLAMA = Config(**SIZES | {"n_heads": 4, "n_kv_heads": 2, "d_head": 6}, **strategies.LLAMA)
IDS = np.array([3, 1, 4, 1, 5, 9, 2, 6])


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_a_right_gradient_is_found_right_to_rounding_and_the_model_is_left_as_it_was(config):
    model = random_model(config)
    model.ln_final.gamma.grad = before = np.ones(12)
    data = {name: parameter.data for name, parameter in model.named_parameters()}
    found = verify_gradient(model, IDS)
    assert found.is_right and not found.wrong
    assert max(part.miss for part in found.parts) < 1e-11
    assert sum(part.parameters for part in found.parts) == model.n_parameters()
    assert found.loss == pytest.approx(float(model.loss(IDS[None, :-1], IDS[None, 1:])[0]), rel=1e-5)
    for name, parameter in model.named_parameters():
        assert parameter.data is data[name] and parameter.data.dtype == np.float32
    assert model.ln_final.gamma.grad is before and model.embedding.weight.grad is None


def test_the_measured_side_is_the_derivative_that_a_central_difference_finds():
    model = random_model(LLAMA)
    found = verify_gradient(model, IDS, seed=5)
    rng = np.random.default_rng(5)
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(np.float64)
    _, backward = model.loss(IDS[None, :-1], IDS[None, 1:])
    backward()
    for part, tensors in zip(found.parts, parts_of(model).values(), strict=True):
        norm = np.sqrt(sum((p.grad**2).sum() for p in tensors.values()))
        v = [rng.standard_normal(p.data.shape) / max(np.linalg.norm(p.grad), 1e-4 * norm) for p in tensors.values()]
        losses = []
        for step in (1e-6, -1e-6):
            data = [p.data for p in tensors.values()]
            for p, direction in zip(tensors.values(), v, strict=True):
                p.data = p.data + step * direction
            losses.append(float(model.loss(IDS[None, :-1], IDS[None, 1:])[0]))
            for p, original in zip(tensors.values(), data, strict=True):
                p.data = original
        assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(part.measured, rel=1e-5, abs=1e-6)


def spoil(parameter, change):
    accumulate = parameter.accumulate
    parameter.accumulate = lambda gradient: accumulate(change(gradient))


def scaled_entry(gradient):
    gradient = gradient.copy()
    gradient[0] *= 1 + 1e-6
    return gradient


@pytest.mark.parametrize(
    "name",
    ["blocks.1.attention.w_k.weight", "blocks.2.norm2.gamma", "embedding.weight", "blocks.0.feed_forward.down.bias"],
)
@pytest.mark.parametrize(
    "change", [scaled_entry, np.zeros_like, lambda g: -g, lambda g: g[::-1]], ids=["scaled", "lost", "sign", "order"]
)
def test_a_wrong_gradient_of_one_tensor_is_found_and_named(name, change):
    model = random_model(GPT2)
    spoil(dict(model.named_parameters())[name], change)
    found = verify_gradient(model, IDS)
    wrong_part = next(part for part, tensors in parts_of(model).items() if name in tensors)
    assert [part.name for part in found.parts if not part.is_right] == [wrong_part]
    assert [tensor.name for tensor in found.wrong] == [name]
    assert not found.is_right and name in str(found)


def with_half_of_dg(g, u):
    p, backward = swiglu(g, u)

    def half_backward(dp):
        dg, du = backward(dp)
        return dg / 2, du

    return p, half_backward


def test_a_mistake_in_a_backward_pass_shows_in_all_that_its_gradient_reaches(monkeypatch):
    monkeypatch.setitem(FEED_FORWARDS, "swiglu", replace(FEED_FORWARDS["swiglu"], function=with_half_of_dg))
    found = verify_gradient(random_model(LLAMA), IDS)
    assert [part.is_right for part in found.parts] == [False, False, False, False, True, True]
    named = {tensor.name for tensor in found.wrong}
    assert "blocks.2.feed_forward.gate.weight" in named and "blocks.2.feed_forward.down.weight" not in named


def test_the_command_prints_each_part_and_the_sum(tmp_path, capsys):
    lm = small_lm(n_layers=2)
    before = weights(lm)
    lm.save(tmp_path / "model.npz")
    assert main(["verify", str(tmp_path), "--text", "the cat", "--seed", "3"]) == 0
    shown = capsys.readouterr().out
    for name in ("embedding", "positional_embedding", "blocks.0", "blocks.1", "ln_final"):
        assert f"\n{name} " in shown
    assert f"the gradient of all {lm.model.n_parameters():,} parameters is right: loss " in shown
    assert_same_weights(LanguageModel.load(tmp_path), before)


SENTENCE = "The capital of France is Paris, and the capital of Italy is Rome."


@pytest.mark.parametrize(
    "text, context, tokens", [(SENTENCE, 64, 64), (SENTENCE, 8, 8), ("a cat", 64, 15), ("a", 1, 1)]
)
def test_without_a_text_every_model_is_verified(tmp_path, capsys, text, context, tokens):
    small_lm(text, context=context).save(tmp_path / "model.npz")
    assert main(["verify", str(tmp_path)]) == 0
    shown, said = capsys.readouterr()
    assert f" on {tokens} tokens, " in shown
    assert ("verifying on random tokens" in said) == (text != SENTENCE)


def test_the_command_says_what_is_wrong_and_its_exit_status_does_too(tmp_path, capsys, monkeypatch):
    small_lm(feed_forward="swiglu").save(tmp_path / "model.npz")
    monkeypatch.setitem(FEED_FORWARDS, "swiglu", replace(FEED_FORWARDS["swiglu"], function=with_half_of_dg))
    assert main(["verify", str(tmp_path), "--text", "the cat"]) == 1
    shown = capsys.readouterr().out
    assert "WRONG" in shown and "blocks.0.feed_forward.gate.weight" in shown.partition("the gradient is wrong in")[2]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--text", "a"], "--text must have from 2 to 9 tokens for this model, not 1"),
        (["--text", "the cat sat"], "--text must have from 2 to 9 tokens for this model, not 11"),
        (["--text", ""], "the text must have at least one token"),
        (["--seed", "-1"], "--seed must"),
    ],
)
def test_the_command_refuses_what_cannot_be_verified(tmp_path, capsys, arguments, words):
    small_lm().save(tmp_path / "model.npz")
    assert main(["verify", str(tmp_path), *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and words in printed.err and printed.err.count("\n") == 1
