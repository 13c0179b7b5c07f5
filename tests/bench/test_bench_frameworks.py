"""The models in PyTorch and JAX that `bench --against` times: the same loss, gradients, steps and tokens as ours."""

import dataclasses

import numpy as np
import pytest
from strategies import LLAMA, random_model, taken_gradients

from minitransformer import Config, Transformer
from minitransformer.bench.numpy_engine import NumPyEngine
from minitransformer.bench.sizes import ANY, check_supported
from minitransformer.bench.worker import build

pytestmark = pytest.mark.parity

GPT = {"feed_forward": "gelu"}
GPT2 = {"feed_forward": "gelu_tanh", "bias": False}
FAMILIES = {"GPT": GPT, "GPT-2": GPT2, "Llama": LLAMA | {"n_kv_heads": 2}, "ReLU": {"feed_forward": "relu"}}
each_family = pytest.mark.parametrize("family", FAMILIES)
B, T = 2, 5


def family_config(family, **fields):
    """Return a small Config whose sizes all differ."""
    sizes = {"vocab_size": 11, "context": 9, "d_model": 8, "n_heads": 4, "n_layers": 2, "d_ff": 10, "d_head": 6}
    return Config(**sizes | FAMILIES[family] | fields)


@pytest.fixture
def framework(name, request):
    if name == "jax":
        pytest.importorskip("jax")
    else:
        request.getfixturevalue("torch")
    return name


def embedding_of(engine):
    if hasattr(engine, "parameters"):  # JAX
        return np.asarray(engine.parameters["embedding.weight"])
    return engine.model.embedding.weight.detach().numpy()


def take_weights(engine, model):
    if hasattr(engine, "parameters"):
        engine.parameters = {name: parameter.data for name, parameter in model.named_parameters()}
    else:
        from minitransformer.bench.torch_model import TorchTransformer

        engine.model = TorchTransformer(model)


def weight_gradient(linear):
    """Return the gradients of weight and bias in the shapes of ours."""
    return linear.weight.grad.T.numpy(), None if linear.bias is None else linear.bias.grad.numpy()


def gradients_by_our_names(twin):
    """Return every gradient of the model in PyTorch, under the names and in the shapes of ours."""
    found = {"embedding.weight": twin.embedding.weight.grad.numpy(), "lm_head.weight": twin.head.weight.grad.numpy()}
    if twin.positions is not None:
        found["positional_embedding.weight"] = twin.positions.weight.grad.numpy()
    norms, linears = {"ln_final": twin.ln_final}, {}
    for i, block in enumerate(twin.blocks):
        norms |= {f"blocks.{i}.norm1": block.norm1, f"blocks.{i}.norm2": block.norm2}
        linears |= {f"blocks.{i}.attention.w_o": block.out}
        linears |= {f"blocks.{i}.feed_forward.{name}": getattr(block, name) for name in ("up", "down", "gate")}
        D, widths = block.head_width, (block.heads, block.kv_heads, block.kv_heads)
        edges = np.cumsum(widths)[:-1] * D
        weight, bias = weight_gradient(block.qkv)
        weights = np.split(weight, edges, axis=1)
        biases = [None] * 3 if bias is None else np.split(bias, edges)
        for letter, dweight, dbias in zip("qkv", weights, biases, strict=True):
            found[f"blocks.{i}.attention.w_{letter}.weight"] = dweight
            found[f"blocks.{i}.attention.w_{letter}.bias"] = dbias
    for name, module in norms.items():
        found[f"{name}.gamma"] = module.weight.grad.numpy()
        found[f"{name}.beta"] = module.bias.grad.numpy() if getattr(module, "bias", None) is not None else None
    for name, module in linears.items():
        if module is not None:
            found[f"{name}.weight"], found[f"{name}.bias"] = weight_gradient(module)
    return {name: gradient for name, gradient in found.items() if gradient is not None}


@each_family
def test_the_model_in_pytorch_has_our_loss_and_every_gradient(torch, family, rng):
    from minitransformer.bench.torch_model import TorchTransformer

    config = family_config(family, dtype="float64")
    model = random_model(config, rng)
    twin = TorchTransformer(model).double()
    ids, targets = rng.integers(0, config.vocab_size, (2, B, T))
    loss, backward = model.loss(ids, targets)
    backward()
    twin_loss = twin(torch.from_numpy(ids), torch.from_numpy(targets))
    twin_loss.backward()
    tolerance = 1e-6 if config.positions == "rotary" else 1e-10  # its table of angles is float32
    np.testing.assert_allclose(loss, twin_loss.item(), rtol=tolerance)
    theirs = gradients_by_our_names(twin)
    for name, gradient in taken_gradients(model).items():
        np.testing.assert_allclose(gradient, theirs[name], rtol=tolerance, atol=tolerance, err_msg=name)


@each_family
@pytest.mark.parametrize("name", ["torch", "torch-fused", "jax"])
def test_training_steps_of_two_engines_stay_together(framework, family, rng):
    config = family_config(family)
    ours, theirs = NumPyEngine(config), build(framework, config, seed=0)
    for _ in range(5):
        ids, targets = rng.integers(0, config.vocab_size, (2, B, T))
        assert ours.training_step(ids, targets) == pytest.approx(theirs.training_step(ids, targets), rel=1e-5)
    moved = np.abs(ours.model.embedding.weight.data - Transformer(config).embedding.weight.data).max()
    apart = np.abs(ours.model.embedding.weight.data - embedding_of(theirs)).max()
    assert apart < 1e-2 * moved


@each_family
@pytest.mark.parametrize("name", ["torch", "jax"])
def test_two_engines_decode_the_same_tokens(framework, family, rng):
    config = family_config(family, tie_embeddings=False)  # a tied model tends to repeat one token
    ours, theirs = NumPyEngine(config), build(framework, config, seed=0)
    for parameter in ours.model.parameters():
        if parameter.data.ndim == 2:  # a bias would favour one token as well
            parameter.data = rng.normal(size=parameter.data.shape).astype(np.float32)
    take_weights(theirs, ours.model)
    ids = rng.integers(0, config.vocab_size, 3)
    tokens = [int(token) for token in ours.stream(ids, 6)]
    assert tokens == list(theirs.stream(ids, 6))
    assert len(set(tokens)) > 1


UNSUPPORTED = {
    "dropout 0.1 is not supported, only 0.0": {"dropout": 0.1},
    "positions 'sinusoidal' is not supported, only learned, rotary": {"positions": "sinusoidal"},
    "qk_norm True is not supported, only False": {"qk_norm": True},
    "n_experts 2 is not supported, only None": {"n_experts": 2, "feed_forward": "swiglu"},
}


@pytest.mark.parametrize("name", ["torch", "jax"])
@pytest.mark.parametrize("words", UNSUPPORTED)
def test_unsupported_models_are_refused_by_the_name_of_the_field(framework, words):
    with pytest.raises(ValueError, match=words):
        build(framework, family_config("GPT", **UNSUPPORTED[words]), seed=0)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Config) if field.name not in ANY])
def test_every_other_field_of_a_configuration_has_only_listed_values(field):
    config = object.__new__(Config)
    config.__dict__.update(family_config("GPT").to_dict() | {field: "another value"})
    with pytest.raises(ValueError, match=f"JAX: {field} 'another value' is not supported, only"):
        check_supported("JAX", config, feed_forwards=("gelu",))
