"""For any bytes in the files, loading gives a whole model or one clear line, and allocates little else."""

import shutil
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

pytest.importorskip("safetensors")
pytest.importorskip("gguf")

from gguf_models import CONFIGS as GGUF_CONFIGS, add_tokenizer, random_model, write_gguf
from safetensors_files import byte_lm, save_random, shard, tensors_of, write_tensors

from minitransformer import Config, LanguageModel
from minitransformer.interop import load_pretrained, save_pretrained
from minitransformer.text import NoTokenizer

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
REFUSED = (ValueError, TypeError, OSError)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A folder of whole models: of the Hugging Face layout in one file and in shards, with a tokenizer, and as GGUF."""
    folder = tmp_path_factory.mktemp("originals")
    save_random("gpt2", folder / "gpt2")
    save_random("llama grouped, biased, untied", folder / "shards")
    shard(folder / "shards", 2)
    save_pretrained(byte_lm(), folder / "bytes")
    (folder / "gguf").mkdir()
    write_gguf(folder / "gguf" / "model.gguf", random_model(GGUF_CONFIGS["llama"]), "Q8_0")
    (folder / "gguf with a tokenizer").mkdir()
    config = replace(GGUF_CONFIGS["gpt2"], vocab_size=258)
    path = folder / "gguf with a tokenizer" / "model.gguf"
    write_gguf(path, random_model(config), "Q8_0", change=add_tokenizer)
    assert load_pretrained(path).generate("cat", 3, temperature=0).startswith("cat")
    return folder


def path_of(folder):
    return folder / "model.gguf" if (folder / "model.gguf").exists() else folder


def assert_whole_or_one_line(path):
    try:
        parameters, said = load_pretrained(path).model.parameters(), path.name
    except REFUSED as error:
        parameters, said = [], str(error)
    assert "\n" not in said and path.name in said
    for parameter in parameters:
        assert parameter.data.flags.writeable and parameter.data.dtype == np.float32
        assert np.isfinite(parameter.data).all()


place = st.floats(0, 1, exclude_max=True)
edits = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), place, st.integers(0, 255)),
        st.tuples(st.just("cut"), place, st.integers(1, 64)),
        st.tuples(st.just("insert"), place, st.binary(min_size=1, max_size=16)),
        st.tuples(st.just("truncate"), place, st.none()),
        st.tuples(st.just("digits"), place, st.sampled_from([b"0", b"-1", b"9" * 30, b"1e99"])),
    ),
    min_size=1,
    max_size=3,
)


def edited(content, changes, within):
    """Return bytes with changes, each at a place in the first `within` of them."""
    for kind, where, what in changes:
        place = int(where * min(within, len(content) + 1))
        if kind == "flip" and place < len(content):
            content = content[:place] + bytes([content[place] ^ what]) + content[place + 1 :]
        elif kind == "cut":
            content = content[:place] + content[place + what :]
        elif kind == "insert":
            content = content[:place] + what + content[place:]
        elif kind == "truncate":
            content = content[:place]
        elif kind == "digits":
            digit = next((i for i in range(place, len(content)) if content[i : i + 1].isdigit()), len(content))
            content = content[:digit] + what + content[digit + 1 :]
    return content


@pytest.mark.parametrize(
    "name, file",
    [
        ("gpt2", "config.json"),
        ("gpt2", WEIGHTS),
        ("shards", "config.json"),
        ("shards", INDEX),
        ("shards", "model-00001-of-00002.safetensors"),
        ("bytes", "tokenizer.json"),
        ("bytes", "tokenizer_config.json"),
        ("gguf", "model.gguf"),
        ("gguf with a tokenizer", "model.gguf"),
    ],
)
@pytest.mark.filterwarnings("ignore:read without dropout")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(changes=edits, whole=st.booleans())
def test_a_file_with_wrong_bytes_is_refused_in_one_line_or_read_whole(originals, tmp_path, name, file, changes, whole):
    folder = tmp_path / "folder"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(originals / name, folder)
    content = (folder / file).read_bytes()
    headers = 4000  # the headers, and most of the possible faults
    (folder / file).write_bytes(edited(content, changes, len(content) if whole else headers))
    assert_whole_or_one_line(path_of(folder))


# Memory.

LARGE = Config(
    vocab_size=8192,
    context=64,
    d_model=256,
    n_heads=4,
    n_layers=8,
    d_ff=1024,
    norm="rms_norm",
    feed_forward="swiglu",
    positions="rotary",
    bias=False,
)  # 10 million parameters


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A model of 40 MB in float32, in every kind of file."""
    folder = tmp_path_factory.mktemp("large")
    model = random_model(LARGE)
    save_pretrained(LanguageModel(model, NoTokenizer(LARGE.vocab_size)), folder / "F32")
    tensors = tensors_of(folder / "F32" / WEIGHTS)
    for dtype in ("F16", "BF16"):
        shutil.copytree(folder / "F32", folder / dtype)
        write_tensors(folder / dtype / WEIGHTS, tensors, dtype)
    write_gguf(folder / "Q8_0.gguf", model, "Q8_0")
    write_gguf(folder / "F16.gguf", model, "F16")
    return folder


@pytest.mark.parametrize("name", ["F32", "F16", "BF16", "F16.gguf", "Q8_0.gguf"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loading_allocates_at_most_a_third_more_than_the_model(large, name, dtype):
    load_pretrained(large / name)  # imports
    tracemalloc.start()
    try:
        lm = load_pretrained(large / name, dtype)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = sum(parameter.data.nbytes for parameter in lm.model.parameters())
    assert size <= peak <= 1.3 * size
