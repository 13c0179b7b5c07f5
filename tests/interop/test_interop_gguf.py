"""GGUF files: every kind of weight, llama.cpp's order of rows undone, and unsupported features refused by name."""

import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("gguf")

import gguf
from gguf_models import CONFIGS, add_tokenizer, converted, write_gguf
from strategies import random_model

from minitransformer import LanguageModel, generate
from minitransformer.cli import main
from minitransformer.interop import load_pretrained
from minitransformer.system.archive import ArchiveError

KINDS = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


def refused(path, words):
    with pytest.raises(ArchiveError, match=words) as caught:
        load_pretrained(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_comes_back_to_the_bit(path, name):
    model = random_model(CONFIGS[name])
    write_gguf(path, model)
    loaded = load_pretrained(path).model
    given = {
        "d_head": loaded.config.d_head,
        "n_kv_heads": loaded.config.n_kv_heads,
        "eps": float(np.float32(model.config.eps)),
    }
    assert loaded.config == replace(model.config, **given)  # eps in the metadata is float32
    assert (loaded.config.head_width, loaded.config.kv_heads) == (model.config.head_width, model.config.kv_heads)
    ids = np.arange(16)[None] * 7 % 40
    parameters = dict(loaded.named_parameters())
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(parameters.pop(name).data, parameter.data, err_msg=name)
        assert parameter.data.flags.c_contiguous
    assert not parameters
    np.testing.assert_allclose(loaded.predict(ids), model.predict(ids), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["gpt2", "llama untied, biased, wide heads, scaled"])
@pytest.mark.parametrize("kind, vectors", [*((kind, "F32") for kind in KINDS), ("BF16", "BF16"), ("F32", "Q8_0")])
def test_weights_of_every_kind_are_what_the_package_dequantises_them_to(path, name, kind, vectors):
    read_back = write_gguf(path, random_model(CONFIGS[name]), kind, vectors=vectors)
    loaded = converted(load_pretrained(path).model)
    assert loaded.keys() == read_back.keys()
    for tensor, expected in read_back.items():
        np.testing.assert_array_equal(loaded[tensor], expected, err_msg=tensor)


def test_a_language_model_loads_it_and_without_a_tokenizer_ids_work_and_text_does_not(path):
    write_gguf(path, random_model(CONFIGS["llama"]))
    lm = LanguageModel.load(path.rename(path.with_suffix(".bin")))  # known by how it begins
    assert generate(lm.model, np.array([1, 2]), 3, temperature=0).shape == (5,)
    with pytest.raises(ValueError, match="has no tokenizer"):
        lm.generate("text", 3)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda w: w.add_expert_count(8), "llama.expert_count 8 is not supported, only 0"),
        (lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.YARN), "rotary scaling of type 'yarn' is not"),
        (lambda w: w.add_uint32("llama.attention.value_length", 8), "value_length 8 is not supported, only 16"),
        (lambda w: w.add_string("llama.tensor_data_layout", "rows"), "tensor_data_layout 'rows' is not supported"),
        (lambda w: w.add_sliding_window(7), "llama.attention.sliding_window with the value 7 is not supported"),
        (lambda w: w.add_string("general.architecture", "mamba"), "unknown architecture 'mamba'"),
        (lambda w: w.add_tensor("numbers", np.zeros((4, 4), np.int32)), "the tensor numbers is I32, which is not"),
        (lambda w: w.add_tensor("numbers", np.zeros((), np.float32)), "unexpected tensor numbers"),
    ],
)
def test_what_the_file_has_and_we_do_not_is_refused_by_name(path, change, words):
    write_gguf(path, random_model(CONFIGS["llama"]), change=change)
    refused(path, words)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda t: t.pop("blk.1.ffn_up.weight"), "the tensor blk.1.ffn_up.weight is missing"),
        (lambda t: t.pop("token_embd.weight"), "the tensor token_embd.weight is missing"),
        (lambda t: t.update({"blk.0.extra": np.zeros(3)}), "unexpected tensor blk.0.extra"),
        (lambda t: t.update({"rope_freqs.weight": np.ones(8)}), "the rotary factors in rope_freqs.weight"),
        (lambda t: t.update({"blk.0.attn_q.bias": np.ones(64)}), "the tensor blk.0.attn_k.bias is missing"),
        (
            lambda t: t.update({"blk.0.attn_k.weight": np.zeros((64, 64))}),
            r"the tensor blk.0.attn_k.weight must have shape \(32, 64\), not \(64, 64\)",
        ),
    ],
)
def test_a_tensor_that_is_missing_unexpected_or_of_another_shape_is_named(path, change, words):
    model = random_model(CONFIGS["llama"])
    tensors = converted(model)
    change(tensors)
    write_gguf(path, model, tensors=tensors)
    refused(path, words)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "expected a GGUF file"),
        (b"GGUF", "a damaged or truncated GGUF file"),
        (b"GGUF\x03\0\0\0" + b"\xff" * 16, "a damaged or truncated GGUF file"),
        (b"GGUF\0\0\0\x03" + bytes(16), "the byte order of the file"),
        (b"\x80\x04\x95" + bytes(40), "expected a GGUF file, or a folder that contains config.json"),
    ],
)
def test_other_files_are_told_apart(path, content, words):
    path.write_bytes(content)
    refused(path, words)


def test_a_list_that_claims_to_be_endless_is_not_read_to_its_end(path):
    write_gguf(path, random_model(CONFIGS["llama"]), change=lambda w: w.add_array("numbers", [1, 2, 3]))
    content = path.read_bytes()
    place = content.index(b"numbers") + len("numbers") + 8
    assert content[place : place + 8] == (3).to_bytes(8, "little")
    for claim in (2**21 + 1, 2**60):
        path.write_bytes(content[:place] + claim.to_bytes(8, "little") + content[place + 8 :])
        refused(path, re.escape("a list of metadata has more than 2,097,152 items"))
    path.write_bytes(content[:place] + (2**20).to_bytes(8, "little") + content[place + 8 :])
    refused(path, "damaged or truncated")


def test_a_header_of_many_short_lists_is_not_read_to_its_end(path, monkeypatch):
    def add_lists(writer):
        for i in range(50):
            writer.add_array(f"list {i}", [""] * 20)

    write_gguf(path, random_model(CONFIGS["llama"]), change=add_lists)
    load_pretrained(path)
    monkeypatch.setattr("minitransformer.interop.gguf_file.MOST_ITEMS", 1000)
    refused(path, "its header has more than 1,000 values")


def test_the_commands_take_it_as_a_model(path, capsys):
    pytest.importorskip("tokenizers")
    write_gguf(path, random_model(replace(CONFIGS["llama"], vocab_size=258)), change=add_tokenizer)
    assert main(["generate", "--model", str(path), "--prompt", "cat", "--max-new-tokens", "4", "--greedy"]) == 0
    assert capsys.readouterr().out.startswith("cat")
    assert main(["info", str(path)]) == 0
    shown = capsys.readouterr().out
    assert f"{path}: a language model of " in shown and "training    not recorded in the file" in shown
    assert main(["verify", str(path), "--text", "a cat"]) == 0
