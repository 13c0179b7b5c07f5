"""Our GPT-2 and Llama against those of Transformers, in float64: each loads the files that the other saves.

Transformers casts to float32 inside its Llama norm, its rotary positions, its softmax and its loss, whatever the dtype
of the model; to compare in true float64, the tests let it take float64 for float32: see float32_is_float64.
"""

import copy
from dataclasses import replace

import numpy as np
import pytest
from strategies import LLAMA, random_model
from transformers_models import (
    KINDS,
    SEEDS,
    float32_is_float64,
    import_transformers,
    in_old_style,
    model_of_transformers,
)

from minitransformer import AdamW, Config, LanguageModel, Transformer, clip_grad_norm, cosine_schedule, generate
from minitransformer.analysis.hooks import record
from minitransformer.text import NoTokenizer

pytest.importorskip("safetensors")

from minitransformer.interop import load_pretrained, save_pretrained

RTOL = 1e-9
B, T = 2, 11


@pytest.fixture(scope="module")
def transformers(torch):
    """Transformers, computing in float64. Tests that use it are skipped if it is not installed."""
    transformers = import_transformers()
    with float32_is_float64(torch):
        yield transformers


@pytest.fixture(scope="module", params=[(kind, seed) for kind in KINDS for seed in SEEDS], ids=str)
def pair(request, transformers, tmp_path_factory):
    """A model of Transformers, and ours, loaded from its files: in shards for some, in the old style for some."""
    kind, seed = request.param
    theirs = model_of_transformers(kind, seed)
    folder = tmp_path_factory.mktemp("saved")
    theirs.save_pretrained(folder, max_shard_size="20KB" if seed % 2 else "5GB")
    if kind == "llama" and seed % 3 == 0:
        in_old_style(folder)
    return theirs, load_pretrained(folder, "float64").model


def assert_close(ours, theirs):
    """Assert that two arrays agree in nine digits, of the larger numbers in them."""
    theirs = theirs.detach().numpy() if hasattr(theirs, "detach") else theirs
    np.testing.assert_allclose(ours, theirs, rtol=RTOL, atol=RTOL * np.abs(theirs).max())


def random_ids(model, rows=B, length=T, seed=3):
    return np.random.default_rng(seed).integers(0, model.config.vocab_size, (rows, length))


def as_ours(theirs, folder):
    theirs.save_pretrained(folder)
    return {name: p.data for name, p in load_pretrained(folder, "float64").model.named_parameters()}


def test_logits_hidden_states_and_attention_weights_are_theirs(torch, pair):
    theirs, ours = pair
    ids = random_ids(ours)
    expected = theirs(torch.from_numpy(ids), output_hidden_states=True, output_attentions=True)
    blocks = [f"blocks.{i}" for i in range(ours.config.n_layers)]
    seen = record(ours, ids, [*blocks, *(f"{block}.attention.weights" for block in blocks), "ln_final"])
    assert_close(ours.predict(ids), expected.logits)
    assert len(expected.hidden_states) == len(blocks) + 1
    for block, hidden in zip(blocks[:-1], expected.hidden_states[1:-1], strict=True):
        assert_close(seen[block], hidden)
    assert_close(seen["ln_final"], expected.hidden_states[-1])
    for block, weights in zip(blocks, expected.attentions, strict=True):
        assert_close(seen[f"{block}.attention.weights"], weights)


def test_the_loss_and_the_gradient_of_every_parameter_are_theirs(torch, pair, tmp_path):
    theirs, ours = pair
    ids = random_ids(ours)
    theirs.zero_grad()
    expected = theirs(torch.from_numpy(ids), labels=torch.from_numpy(ids)).loss
    expected.backward()
    loss, backward = ours.loss(ids[:, :-1], ids[:, 1:])
    backward()
    assert_close(loss, expected)
    gradients = copy.deepcopy(theirs)
    for parameter, with_gradient in zip(gradients.parameters(), theirs.parameters(), strict=True):
        parameter.data = with_gradient.grad
    expected = as_ours(gradients, tmp_path)
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    for name, parameter in ours.named_parameters():
        np.testing.assert_allclose(parameter.grad, expected[name], rtol=RTOL, atol=1e-12 * largest, err_msg=name)
        parameter.grad = None


def test_greedy_generation_is_theirs_with_a_cache_and_without(torch, pair):
    theirs, ours = pair
    ids = random_ids(ours, length=4)
    new = ours.config.context - 4
    expected = theirs.generate(torch.from_numpy(ids), max_new_tokens=new, do_sample=False, pad_token_id=0).numpy()
    for use_cache in (True, False):
        np.testing.assert_array_equal(generate(ours, ids, new, temperature=0, use_cache=use_cache), expected)


@pytest.mark.parametrize("kind, seed", [("gpt2", 2), ("gpt2", 4), ("llama", 3), ("llama", 6)])
def test_forty_steps_of_training_lead_to_their_weights(torch, transformers, tmp_path, kind, seed):
    steps, lr, min_lr = 40, 3e-3, 3e-4
    theirs = model_of_transformers(kind, seed)
    theirs.save_pretrained(tmp_path / "before")
    ours = load_pretrained(tmp_path / "before", "float64").model
    settings = {"lr": lr, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    their_optimizer = torch.optim.AdamW(theirs.parameters(), **settings)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(their_optimizer, steps, min_lr)
    optimizer = AdamW(ours.parameters(), **settings)
    for step in range(steps):
        ids = random_ids(ours, seed=step)
        their_optimizer.zero_grad()
        expected = theirs(torch.from_numpy(ids), labels=torch.from_numpy(ids)).loss
        expected.backward()
        expected_norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in theirs.parameters()])
        torch.nn.utils.clip_grads_with_norm_(theirs.parameters(), 1.0, expected_norm - 1e-6)  # to which it adds 1e-6
        their_optimizer.step()
        scheduler.step()

        optimizer.zero_grad()
        loss, backward = ours.loss(ids[:, :-1], ids[:, 1:])
        backward()
        norm = clip_grad_norm(ours.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = cosine_schedule(step, lr=lr, steps=steps, warmup=0, min_lr=min_lr)
        optimizer.step()
        assert_close(loss, expected)
        assert_close(norm, expected_norm)
    for name, data in as_ours(theirs, tmp_path / "after").items():
        np.testing.assert_allclose(dict(ours.named_parameters())[name].data, data, rtol=RTOL, atol=1e-10, err_msg=name)


# The way back.

OURS = {
    "gpt2": {"feed_forward": "gelu_tanh"},
    "gpt2 untied, relu, a hidden width": {"feed_forward": "relu", "tie_embeddings": False, "d_ff": 19},
    "gpt2 without biases": {"bias": False, "eps": 1e-3},
    "llama": {"norm": "rms_norm", "feed_forward": "swiglu", "positions": "rotary", "bias": False},
    "qwen3": LLAMA | {"qk_norm": True, "d_head": 8, "n_kv_heads": 2},
    "qwen3 with windows": LLAMA | {"qk_norm": True, "windows": (3, None)},
    "olmo2": LLAMA | {"block": "post_norm", "qk_norm": True, "qk_norm_over": "projection", "n_kv_heads": 2},
    "llama grouped, biased, scaled": {
        "norm": "rms_norm",
        "feed_forward": "swiglu",
        "positions": "rotary",
        "n_kv_heads": 2,
        "d_head": 6,
        "tie_embeddings": False,
        "rope_base": 500.0,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    },
}


@pytest.mark.parametrize("name", OURS)
def test_a_model_of_ours_saved_and_loaded_in_transformers_gives_the_same_logits_and_text(
    torch, transformers, tmp_path, rng, name
):
    config = Config(vocab_size=31, context=16, d_model=24, n_heads=4, n_layers=2, dtype="float64", **OURS[name])
    ours = Transformer(config)
    for parameter in ours.parameters():
        shape = parameter.data.shape
        parameter.data = rng.standard_normal(shape) / (shape[0] ** 0.5 if len(shape) > 1 else 1)
    save_pretrained(LanguageModel(ours, NoTokenizer(31)), tmp_path)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float64, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values())
    ids = random_ids(ours)
    assert_close(ours.predict(ids), theirs(torch.from_numpy(ids)).logits)
    expected = theirs.generate(torch.from_numpy(ids[:, :4]), max_new_tokens=12, do_sample=False, pad_token_id=0)
    np.testing.assert_array_equal(generate(ours, ids[:, :4], 12, temperature=0), expected.numpy())


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_gguf_file_is_the_same_model_to_transformers(torch, transformers, tmp_path, name):
    pytest.importorskip("accelerate")
    gguf_models = pytest.importorskip("gguf_models")
    # Of a GPT-2, Transformers reads neither the context nor the hidden width, but takes them to be as in the original.
    config = replace(gguf_models.CONFIGS[name], context=1024, d_ff=256)
    tokens = [f"token {i}" for i in range(config.vocab_size)]
    gguf_models.write_gguf(
        tmp_path / "model.gguf", random_model(config), "Q4_1", change=lambda w: w.add_token_list(tokens)
    )
    ours = load_pretrained(tmp_path / "model.gguf", "float64").model
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", dtype=torch.float64, attn_implementation="eager", local_files_only=True
    ).eval()
    ids = random_ids(ours)
    assert_close(ours.predict(ids), theirs(torch.from_numpy(ids)).logits)
