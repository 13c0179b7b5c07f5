"""Folders of the Hugging Face layout: saved models of any dtype load again, or are refused by name."""

import json
import os
import pickle
import zipfile
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings

pytest.importorskip("safetensors")

from locks import another_run
from safetensors_files import (
    CONFIGS,
    byte_lm,
    edit_config,
    edit_tensors,
    header_and_data,
    save_random,
    shard,
    tensors_of,
    write_raw,
    write_tensors,
)
from strategies import LLAMA, configs, random_ids, random_model, rngs

from minitransformer import ByteTokenizer, LanguageModel
from minitransformer.interop import load_pretrained, save_pretrained
from minitransformer.interop.configurations import MISSING
from minitransformer.module import Parameter
from minitransformer.system import archive
from minitransformer.system.archive import ArchiveError
from minitransformer.system.files import TEMPORARY_END, TEMPORARY_START
from minitransformer.text import NoTokenizer

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def assert_same(model, other, rtol=0.0):
    theirs = dict(other.named_parameters())
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(theirs.pop(name).data, parameter.data, rtol=rtol, atol=0, err_msg=name)
        assert parameter.data.flags.c_contiguous and parameter.data.flags.writeable
    assert not theirs


def refused(folder, words, file=""):
    """Assert that loading a folder raises one line that begins with the name of the folder or of a file in it."""
    with pytest.raises(ArchiveError, match=words) as caught:
        load_pretrained(folder)
    assert str(caught.value).startswith(f"{folder / file}: ") and "\n" not in str(caught.value)


@pytest.fixture
def llama(tmp_path):
    save_random("llama", tmp_path)
    return tmp_path


@pytest.fixture
def gpt2(tmp_path):
    save_random("gpt2", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_comes_back_to_the_bit(tmp_path, name):
    model = save_random(name, tmp_path)
    if model.config.tie_embeddings != (model.config.positions == "rotary"):
        edit_config(tmp_path, tie_word_embeddings=...)  # a GPT-2 is tied unless it says otherwise, a Llama is not
    loaded = load_pretrained(tmp_path, model.config.dtype).model
    filled_in = {field: getattr(loaded.config, field) for field in ("d_ff", "d_head", "n_kv_heads")}
    assert loaded.config == replace(model.config, **filled_in)
    assert_same(model, loaded)
    ids = np.arange(12)[None]
    np.testing.assert_array_equal(loaded.predict(ids), model.predict(ids))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", WEIGHTS]


def test_the_tokenizer_is_saved_beside_the_model_and_comes_back(tmp_path):
    pytest.importorskip("tokenizers")
    lm = byte_lm()
    save_pretrained(lm, tmp_path / "new" / "folder")
    loaded = load_pretrained(tmp_path / "new" / "folder")
    assert loaded.generate("cat", 5, temperature=0) == lm.generate("cat", 5, temperature=0)
    assert LanguageModel.load(tmp_path / "new" / "folder").perplexity("a cat") == loaded.perplexity("a cat")


@pytest.mark.parametrize("dtype, rtol", [("F64", 0), ("F32", 0), ("F16", 2**-10), ("BF16", 2**-7)])
@pytest.mark.parametrize("name", ["gpt2", "llama grouped, biased, untied"])
def test_every_floating_point_dtype_is_read(tmp_path, name, dtype, rtol):
    model = save_random(name, tmp_path)
    edit_tensors(tmp_path, lambda tensors: None, dtype)
    loaded = load_pretrained(tmp_path).model
    assert loaded.embedding.weight.data.dtype == np.float32
    if dtype == "F16":  # below its normal numbers, an absolute step
        for parameter in model.parameters():
            parameter.data = parameter.data.astype(np.float16).astype(np.float32)
    assert_same(model, loaded, rtol)


def test_a_gpt2_without_biases_is_saved_with_biases_of_zero(tmp_path):
    save_pretrained(LanguageModel(random_model(replace(CONFIGS["gpt2"], bias=False)), NoTokenizer(29)), tmp_path)
    assert not load_pretrained(tmp_path).model.blocks[0].attention.w_q.bias.data.any()


@pytest.mark.parametrize("name, prefix", [("gpt2", "transformer."), ("llama", "model.")])
def test_names_may_lack_their_prefix(tmp_path, name, prefix):
    model = save_random(name, tmp_path)
    assert all(tensor.startswith(prefix) for tensor in tensors_of(tmp_path / WEIGHTS))
    edit_tensors(tmp_path, lambda t: [t.update({tensor.removeprefix(prefix): t.pop(tensor)}) for tensor in list(t)])
    assert_same(model, load_pretrained(tmp_path).model)


def test_masks_and_rotary_frequencies_are_ignored(tmp_path):
    for name, buffers in {
        "gpt2": ["transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias", "h.1.attn.bias"],
        "llama": ["model.layers.1.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"],
    }.items():
        model = save_random(name, tmp_path)
        edit_tensors(tmp_path, lambda t, buffers=buffers: t.update({buffer: np.ones((2, 2)) for buffer in buffers}))
        assert_same(model, load_pretrained(tmp_path).model)


def test_an_unembedding_that_repeats_the_tied_embedding_is_accepted_and_another_is_not(llama):
    edit_tensors(llama, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"]}))
    load_pretrained(llama)
    edit_tensors(llama, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] + 1}))
    refused(llama, "lm_head.weight must equal embed_tokens.weight")


@pytest.mark.parametrize("count", [1, 3])
def test_shards_are_read_by_their_index(tmp_path, count):
    model = save_random("llama grouped, biased, untied", tmp_path)
    shard(tmp_path, count)
    assert_same(model, load_pretrained(tmp_path).model)


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"rope_theta": 500.0, "rope_scaling": None}, (500.0, None)),
        ({"rope_theta": ...}, (10000.0, None)),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, (10000.0, {"rope_type": "linear", "factor": 2.0})),
        ({"rope_theta": ..., "rope_parameters": {"rope_type": "default", "rope_theta": 5.0}}, (5.0, None)),
        (
            {"rope_parameters": {"rope_type": "linear", "rope_theta": 5.0, "factor": 3.0}},
            (5.0, {"rope_type": "linear", "factor": 3.0}),
        ),
    ],
)
def test_rotary_fields_of_old_style_and_new_are_understood(llama, fields, expected):
    edit_config(llama, **fields)
    config = load_pretrained(llama).model.config
    assert (config.rope_base, config.rope_scaling) == expected


def test_missing_fields_mean_what_they_mean_to_transformers(llama):
    edit_config(llama, **dict.fromkeys(["num_key_value_heads", "rms_norm_eps", "hidden_act", "attention_bias"], ...))
    edit_config(llama, **dict.fromkeys(["rope_scaling", "rope_theta", "mlp_bias", "torch_dtype"], ...))
    config = load_pretrained(llama).model.config
    assert (config.kv_heads, config.eps, config.rope_base, config.bias) == (4, 1e-6, 10000.0, False)


def test_dropout_that_the_other_side_cannot_express_is_left_out_and_said(gpt2, tmp_path):
    edit_config(gpt2, attn_pdrop=0.2)
    with pytest.warns(UserWarning, match="read without dropout.*attn_pdrop 0.2"):
        assert load_pretrained(gpt2).model.config.dropout == 0
    model = random_model(replace(CONFIGS["llama"], dropout=0.1))
    with pytest.warns(UserWarning, match=r"written without the dropout of 0\.1"):
        save_pretrained(LanguageModel(model, NoTokenizer(29)), tmp_path / "llama")
    assert load_pretrained(tmp_path / "llama").model.config.dropout == 0


@pytest.mark.parametrize(
    "name, fields, words",
    [
        ("llama", {"model_type": "mistral"}, "unknown model_type 'mistral'; choose from gpt2, llama"),
        ("llama", {"model_type": ["llama"]}, "unknown model_type"),
        ("llama", {"hidden_act": "gelu"}, "unknown hidden_act 'gelu'; choose from .*silu, swish"),
        ("gpt2", {"activation_function": "tanh"}, "unknown activation_function 'tanh'"),
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights False is not supported, only True"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx True is not supported"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention True is not supported"),
        ("llama", {"attention_bias": True}, "attention_bias True with mlp_bias False is not supported"),
        (
            "llama",
            {"rope_scaling": {"type": "longrope", "factor": 2}},
            "unknown rope_type 'longrope'; choose from linear",
        ),
        ("llama", {"rope_parameters": {"rope_type": "dynamic"}}, "unknown rope_type 'dynamic'"),
        ("llama", {"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor 0.5 is not supported"),
        ("llama", {"rope_scaling": {"type": "linear"}}, "rope_scaling of type 'linear' must have the key 'factor'"),
        ("llama", {"rope_scaling": 7}, "rope_parameters must be an object, not 7"),
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, "quantization_config is not supported"),
        ("llama", {"hidden_size": ...}, "the field 'hidden_size' is missing"),
        ("llama", {"hidden_size": "12"}, "hidden_size must be an integer, not '12'"),
        ("llama", {"num_hidden_layers": -1}, "num_hidden_layers must be at least 1, not -1"),
        ("gpt2", {"n_inner": 2.5}, "n_inner must be an integer, not 2.5"),
        ("llama", {"head_dim": 0}, "head_dim must be at least 1, not 0"),
        ("llama", {"attention_bias": 1}, "attention_bias must be True or False, not 1"),
        ("llama", {"rope_theta": -1}, "rope_theta must be positive and finite, not -1"),
        ("llama", {"rope_theta": 10**400}, "rope_theta must be at most 1.8e"),
        ("llama", {"rms_norm_eps": float("inf")}, "rms_norm_eps must be positive and finite, not inf"),
        ("llama", {"max_position_embeddings": 10**400}, "max_position_embeddings must be at most 9,223,372,036,"),
        ("gpt2", {"n_head": 5}, "n_heads must divide d_model 12 unless d_head is given, not be 5"),
        ("gpt2", {"layer_norm_epsilon": None}, "layer_norm_epsilon must be a number"),
        ("gpt2", {"tie_word_embeddings": "yes"}, "tie_word_embeddings must be True or False"),
    ],
)
def test_a_configuration_that_is_not_supported_is_refused_by_the_name_of_the_field(tmp_path, name, fields, words):
    save_random(name, tmp_path)
    edit_config(tmp_path, **fields)
    refused(tmp_path, words, "config.json")


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda t: t.pop("model.norm.weight"), "the tensor norm.weight is missing"),
        (lambda t: t.update(extra=np.ones(2)), "unexpected tensor extra"),
        (
            lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": np.ones(16)}),
            "unexpected tensor layers.0.self_attn.q_proj.bias",
        ),
        (
            lambda t: t.update({"model.layers.1.mlp.up_proj.weight": np.ones((12, 10))}),
            r"the tensor layers.1.mlp.up_proj.weight must have shape \(10, 12\), not \(12, 10\)",
        ),
        (lambda t: t.update({"model.layers.2.mlp.up_proj.weight": np.ones(1)}), "unexpected tensor layers.2"),
    ],
)
def test_a_tensor_that_is_missing_unexpected_or_of_another_shape_is_named(llama, change, words):
    edit_tensors(llama, change)
    refused(llama, words)


def test_a_tensor_with_and_without_prefix_is_ambiguous(llama):
    edit_tensors(llama, lambda t: t.update({"norm.weight": np.ones(12)}))
    refused(llama, "occurs twice in the files", WEIGHTS)


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e300])
def test_weights_that_are_no_finite_numbers_are_refused(llama, number):
    edit_tensors(llama, lambda t: t["model.norm.weight"].__setitem__(3, number), "F64")
    refused(llama, "the tensor norm.weight must have only finite float32 values")


def test_a_missing_folder_configuration_or_weights_is_an_error_of_the_system(tmp_path, llama):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_pretrained(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"the folder must contain config\.json"):
        load_pretrained(tmp_path / "empty")
    (llama / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=r"must contain model\.safetensors or model\.safetensors\.index\.json"):
        load_pretrained(llama)


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("num_hidden_layers", 10**4, r"a model of 10,000 blocks and .* does not fit \d\d arrays"),
        ("num_hidden_layers", 3, "the tensor layers.2.input_layernorm.weight is missing"),
        ("vocab_size", 10**11, "weights or more does not fit"),
        ("hidden_size", 4 * 10**5, "weights or more does not fit"),
    ],
)
def test_a_configuration_that_claims_more_than_there_is_allocates_nothing(llama, field, value, words):
    edit_config(llama, **{field: value})
    refused(llama, words)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="there is no /dev/zero")
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_a_link_to_what_never_ends_is_not_followed_to_its_end(tmp_path, name, monkeypatch):
    pytest.importorskip("tokenizers")
    save_pretrained(byte_lm(), tmp_path)
    monkeypatch.setattr(archive, "LONGEST_DESCRIPTION", 10**5)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).symlink_to("/dev/zero")
    refused(tmp_path, "has more than 100,000 bytes, the limit for a configuration file", name)


@pytest.mark.parametrize(
    "lie",
    [
        lambda header: header["model.norm.weight"].update(data_offsets=[0, 10**12]),
        lambda header: header["model.norm.weight"].update(shape=[13]),
        lambda header: header["model.norm.weight"].update(shape=[2**62, 4]),
        lambda header: header["model.norm.weight"].update(dtype="float32"),
        lambda header: header.pop("model.norm.weight"),
        lambda header: header.update(another=header["model.norm.weight"]),
    ],
)
def test_a_header_that_lies_is_refused(llama, lie):
    header, data = header_and_data(llama / WEIGHTS)
    lie(header)
    write_raw(llama / WEIGHTS, header, data)
    refused(llama, "expected a safetensors file, found another or damaged one", WEIGHTS)


class Booby:
    """Unpickled, it makes the folder `path`."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", [WEIGHTS, "pytorch_model.bin", "model.gguf"])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_or_zip_file_given_by_mistake_is_refused_and_not_run(llama, tmp_path, name, zipped):
    content = pickle.dumps(Booby(tmp_path / "sprung"))
    (llama / WEIGHTS).unlink()
    if zipped:
        with zipfile.ZipFile(llama / name, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    else:
        (llama / name).write_bytes(content)
    with pytest.raises(ArchiveError) as caught:
        load_pretrained(llama / name if name.endswith("gguf") else llama)
    assert "\n" not in str(caught.value) and name in str(caught.value)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "name",
    ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "a\\b.safetensors", "C:x.safetensors", "x.bin", "", 7],
)
def test_shards_lie_in_the_folder_whatever_the_index_says(tmp_path, name):
    (tmp_path / "folder").mkdir()
    save_random("llama", tmp_path / "folder")
    write_tensors(tmp_path / "secret.safetensors", tensors_of(tmp_path / "folder" / WEIGHTS))
    shard(tmp_path / "folder", 1, weight_map={"model.norm.weight": name})
    refused(tmp_path / "folder", "must be the name of a safetensors file in the folder", INDEX)


def test_an_index_that_does_not_fit_its_shards_is_refused(llama):
    weight_map = shard(llama, 2)
    first, second = sorted(set(weight_map.values()))
    moved = weight_map | {"model.norm.weight": first if weight_map["model.norm.weight"] == second else second}
    (llama / INDEX).write_text(json.dumps({"weight_map": moved}))
    refused(llama, "model-0000.-of-00002.safetensors must contain model.norm.weight", INDEX)
    for content in ({}, {"weight_map": []}, {"weight_map": {}}):
        (llama / INDEX).write_text(json.dumps(content))
        refused(llama, "weight_map must be a non-empty object", INDEX)
    (llama / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    (llama / first).unlink()
    with pytest.raises(FileNotFoundError, match=first):
        load_pretrained(llama)


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"positions": "sinusoidal"}, "positions 'sinusoidal' cannot be written"),
        ({"norm": "rms_norm"}, "norm 'rms_norm' cannot be written to a gpt2, only 'layer_norm'"),
        ({"feed_forward": "swiglu"}, "feed_forward 'swiglu' cannot be written to a gpt2"),
        ({"n_kv_heads": 1}, "n_kv_heads 1 cannot be written to a gpt2, only 2"),
        ({"d_head": 6}, "d_head 6 cannot be written to a gpt2, only 4"),
        ({"positions": "rotary"}, "norm 'layer_norm' cannot be written to a (llama|qwen3|olmo2)"),
        ({"positions": "rotary", "norm": "rms_norm"}, "feed_forward 'gelu' cannot be written to a llama"),
        ({"sinks": True}, "sinks True cannot be written to a gpt2, only False"),
        (LLAMA | {"n_experts": 2}, "n_experts 2 cannot be written to a llama, only None"),
        (LLAMA | {"mixers": ("delta",)}, "mixers .* cannot be written to a llama, only"),
        (
            {"positions": "rotary", "norm": "rms_norm", "feed_forward": "swiglu", "n_heads": 3, "d_head": 4},
            "n_heads 3 cannot be written: in a Llama it divides d_model 8",
        ),
    ],
)
def test_what_transformers_cannot_express_is_refused_by_name_and_nothing_is_written(tmp_path, fields, words):
    lm = byte_lm(**fields)
    with pytest.raises(ValueError, match=words):
        save_pretrained(lm, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@settings(max_examples=60)
@given(configs(dropout=0.0), rngs)
def test_saving_preserves_every_configuration_or_refuses_it_by_the_name_of_a_field(tmp_path_factory, config, rng):
    lm, folder = LanguageModel(random_model(config, rng), NoTokenizer(config.vocab_size)), tmp_path_factory.mktemp("lm")
    ids = random_ids(config, rng, 2, config.context)
    lm.save(folder / "model.npz")
    assert np.array_equal(LanguageModel.load(folder / "model.npz").model.predict(ids), lm.model.predict(ids))
    try:
        save_pretrained(lm, folder / "out")
    except ValueError as error:
        refused = str(error).partition(" ")[0]
    else:
        refused = None
    if refused is not None:
        assert refused in (*(field.name for field in fields(config)), "attention_bias")
        return
    assert np.allclose(load_pretrained(folder / "out", "float64").model.predict(ids), lm.model.predict(ids))


@pytest.mark.parametrize("kind", MISSING)
def test_an_architecture_is_refused_by_the_parts_that_are_missing(tmp_path, kind):
    save_random("llama", tmp_path, seed=0)
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | {"model_type": kind}))
    with pytest.raises(ArchiveError, match=f"model_type '{kind}' is not supported: Config has no "):
        load_pretrained(tmp_path)


def test_a_parameter_that_the_architecture_does_not_have_is_not_dropped(tmp_path):
    lm = byte_lm()
    lm.model.blocks[0].extra = Parameter(np.zeros(3))
    with pytest.raises(ValueError, match=r"the parameter blocks\.0\.extra cannot be written to a gpt2"):
        save_pretrained(lm, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_saving_replaces_what_was_there_or_where_it_fails_leaves_it(tmp_path, monkeypatch):
    save_random("llama", tmp_path, seed=0)
    second = save_random("llama", tmp_path, seed=1)
    assert_same(second, load_pretrained(tmp_path).model)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("minitransformer.interop.saving.save_tokenizer", full)
    with pytest.raises(OSError, match="No space left"):
        save_random("llama", tmp_path, seed=2)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_nobody_saves_where_another_run_is_at_work(tmp_path):
    leftover = tmp_path / f"{TEMPORARY_START}killed{TEMPORARY_END}"
    leftover.mkdir()
    save_random("llama", tmp_path, seed=0)
    assert not leftover.exists()
    with another_run(tmp_path), pytest.raises(BlockingIOError, match="another run uses this folder"):
        save_random("llama", tmp_path, seed=1)


def test_the_tokenizer_of_a_model_without_one_stays_that_through_our_own_files(tmp_path, llama):
    lm = load_pretrained(llama)
    lm.save(tmp_path / "model.npz")
    loaded = LanguageModel.load(tmp_path / "model.npz")
    assert_same(lm.model, loaded.model)
    assert isinstance(loaded.tokenizer, NoTokenizer) and loaded.tokenizer.vocab_size == 29
    for use in (lambda: loaded.logits("text"), lambda: loaded.tokenizer.decode([1])):
        with pytest.raises(ValueError, match=r"has no tokenizer; use lm.model with ids"):
            use()
    assert LanguageModel(random_model(replace(CONFIGS["gpt2"], vocab_size=256)), ByteTokenizer()).logits("a").shape
