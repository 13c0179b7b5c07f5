"""SmolLM2-135M-Instruct, a real model: it answers, agrees with Transformers, and our tools work on it."""

import numpy as np
import pytest
from transformers_models import import_transformers

pytest.importorskip("gguf")
pytest.importorskip("tokenizers")

from minitransformer import generate
from minitransformer.analysis.hooks import record, replaced_by
from minitransformer.interop import load_pretrained, save_pretrained

PROMPTS = [
    "The capital of France is",
    "Once upon a time",
    "def fibonacci(n):",
    "The three laws of thermodynamics are",
    "Dear Sir or Madam,",
    "Q: What is 12 times 12?\nA:",
    "In 1969, humans first",
    "The recipe for pancakes begins with",
    "My favourite animal is the",
    "import numpy as np\n",
    "To be, or not to be",
    "Water boils at",
]
NEW_TOKENS = 32
CLOSE = 1e-4  # where their two best logits are closer than this, rounding may decide
PAGE = """\
It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.

However little known the feelings or views of such a man may be on his first entering a neighbourhood, this truth is so
well fixed in the minds of the surrounding families, that he is considered as the rightful property of some one or other
of their daughters.

"My dear Mr. Bennet," said his lady to him one day, "have you heard that Netherfield Park is let at last?"
"""  # Jane Austen, Pride and Prejudice, 1813


@pytest.fixture(scope="module")
def lm(smollm2_path):
    return load_pretrained(smollm2_path)


@pytest.fixture(scope="module")
def theirs(torch, smollm2_path):
    pytest.importorskip("accelerate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        transformers = import_transformers()
        return transformers.AutoModelForCausalLM.from_pretrained(
            smollm2_path.parent, gguf_file=smollm2_path.name, dtype=torch.float32, local_files_only=True
        ).eval()


def test_it_knows_the_capital_of_france(lm):
    assert lm.generate(PROMPTS[0], 1, temperature=0) == "The capital of France is Paris"


def test_hooks_read_and_replace_its_activations(lm):
    ids = lm.encode(PROMPTS[0])[None]
    seen = record(lm.model, ids, ["blocks.12.attention.weights", "blocks.29"])
    weights = seen["blocks.12.attention.weights"]
    assert weights.shape == (1, 9, ids.shape[1], ids.shape[1])
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
    logits = lm.model.predict(ids)
    lens = lm.model.lm_head(lm.model.ln_final(seen["blocks.29"])[0])[0]
    np.testing.assert_array_equal(lens, logits)  # the logit lens at the last block is the model's answer
    with lm.model.hooked({"blocks.12.attention.weights": replaced_by(0.0)}):
        assert np.abs(lm.model.predict(ids) - logits).max() > 0.1


def test_it_continues_greedily_as_in_transformers(torch, lm, theirs):
    """If each new token is the best by their logits after all before it, their greedy continuation is the same."""
    steps = close = parted = 0
    for prompt in PROMPTS:
        start = len(lm.encode(prompt))
        ids = generate(lm.model, lm.encode(prompt), NEW_TOKENS, temperature=0)
        with torch.no_grad():
            logits = theirs(torch.from_numpy(ids[None, :-1])).logits[0, start - 1 :]
        best = logits.topk(2)
        for new, token, (first, second) in zip(ids[start:], best.indices[:, 0], best.values, strict=True):
            is_close = float(first - second) < CLOSE
            steps, close = steps + 1, close + is_close
            if new != token:
                assert is_close, f"{prompt!r} parts where Transformers is sure"
                parted += 1
                break
    print(f"{len(PROMPTS)} prompts, {steps} steps, {close} where the two best are within {CLOSE}, {parted} parted")
    assert steps >= 10 * NEW_TOKENS


def test_its_logits_and_perplexity_are_those_of_transformers(torch, lm, theirs):
    ids = lm.encode(PAGE)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids)[None], labels=torch.from_numpy(ids)[None])
    logits = expected.logits.numpy()
    assert np.abs(lm.model.predict(ids[None]) - logits).max() < 1e-4 * np.abs(logits).max()
    assert lm.perplexity(PAGE) == pytest.approx(float(expected.loss.exp()), rel=1e-4)


def test_it_comes_back_from_a_folder_to_the_bit(lm, tmp_path):
    save_pretrained(lm, tmp_path)
    loaded = load_pretrained(tmp_path)
    for (name, parameter), other in zip(lm.model.named_parameters(), loaded.model.parameters(), strict=True):
        assert parameter.data.tobytes() == other.data.tobytes(), name
    assert loaded.encode(PAGE).tolist() == lm.encode(PAGE).tolist()
