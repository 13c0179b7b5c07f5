"""Loading a model allocates little more than the model. tests/campaigns damages every kind of file."""

import shutil
import tracemalloc

import pytest

pytest.importorskip("safetensors")
pytest.importorskip("gguf")

from gguf_models import write_gguf
from safetensors_files import tensors_of, write_tensors
from strategies import LLAMA, random_model

from minitransformer import Config, LanguageModel
from minitransformer.interop import load_pretrained, save_pretrained
from minitransformer.text import NoTokenizer

WEIGHTS = "model.safetensors"

# 10 million parameters
LARGE = Config(8192, context=64, d_model=256, n_heads=4, n_layers=8, d_ff=1024, **LLAMA | {"tie_embeddings": True})


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


@pytest.mark.one_in(5)
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
