"""LanguageModel: text in, logits and text out, and its file."""

import tracemalloc

import numpy as np
import pytest
from archives import load_archive
from hypothesis import given, strategies as st
from strategies import LLAMA, random_model, rngs

from minitransformer import (
    BPETokenizer,
    ByteTokenizer,
    CharTokenizer,
    Config,
    LanguageModel,
    Transformer,
    generate,
)
from minitransformer.system.archive import ArchiveError, save_archive

TEXT = "the cat sat on the mat, the rat sat on the cat: naïve ☃ — and the mat sat still.\n" * 3
TOKENIZERS = {
    "byte": ByteTokenizer(),
    "char": CharTokenizer.train(TEXT),
    "bpe": BPETokenizer.train(TEXT, 280),
}


def language_model(tokenizer, seed=0, **fields):
    """A LanguageModel with random parameters of order 1."""
    sizes = {"vocab_size": tokenizer.vocab_size, "context": 16, "d_model": 8, "n_heads": 2, "dtype": "float64"}
    return LanguageModel(random_model(Config(**(sizes | fields)), np.random.default_rng(seed)), tokenizer)


@pytest.fixture(params=TOKENIZERS)
def lm(request):
    """A LanguageModel with each tokenizer."""
    return language_model(TOKENIZERS[request.param])


# Text in, logits and text out


def test_logits_are_those_of_the_encoded_text(lm):
    text = "the rat sat"
    ids = lm.tokenizer.encode(text)
    logits = lm.logits(text)
    assert logits.shape == (len(ids), lm.tokenizer.vocab_size)
    assert np.allclose(logits, lm.model(ids[None])[0][0], rtol=1e-12)


def test_generate_continues_the_prompt_with_the_tokens_of_generation(lm):
    settings = {"temperature": 0.9, "top_k": 5, "top_p": 0.95}
    text = lm.generate("the mat", 30, rng=np.random.default_rng(3), **settings)
    ids = lm.tokenizer.encode("the mat")
    expected = generate(lm.model, ids, 30, rng=np.random.default_rng(3), **settings)
    assert text == "the mat" + lm.tokenizer.decode(expected[len(ids) :])


def test_the_stream_gives_a_character_as_soon_as_its_last_byte_is_there():
    class Spelling:
        """Says the bytes of a text, whatever the prompt."""

        def __init__(self, data):
            self.data, self.step = data, 0
            self.config = Config(vocab_size=256, context=64)

        def predict(self, ids, *, cache=None, last_only=False):
            logits = np.zeros((*ids.shape[:-1], 1, 256))
            logits[..., self.data[self.step]] = 1
            self.step += 1
            cache.layers[0].length += ids.shape[-1]
            return logits

    model = Spelling("é☃.".encode())
    pieces = LanguageModel(model, ByteTokenizer()).stream("a", 6, temperature=0)
    steps = [(piece, model.step) for piece in pieces]
    assert steps == [("é", 2), ("☃", 5), (".", 6)]


@pytest.mark.parametrize("length", [2, 16, 17, 18, 33, 150, 245])
def test_perplexity_of_a_long_text_is_that_of_its_blocks(length):
    lm = language_model(TOKENIZERS["char"])
    text = (TEXT * 2)[:length]
    ids = lm.tokenizer.encode(text)
    losses = []
    for start in range(0, len(ids) - 1, 16):
        inputs, targets = ids[start : start + 16], ids[start + 1 : start + 17]
        logits = lm.model.predict(inputs)
        for row, target in zip(logits, targets, strict=False):
            losses.append(np.log(np.exp(row).sum()) - row[target])
    assert len(losses) == len(ids) - 1
    assert lm.perplexity(text) == pytest.approx(np.exp(np.mean(losses)), rel=1e-10)


@given(rngs, st.integers(1, 60))
def test_a_vocabulary_with_room_to_spare_says_only_tokens_that_there_are(rng, new):
    """Vocabularies are padded, to a multiple of 64 for example; the ids beyond the tokenizer's mean nothing."""
    tokenizer = TOKENIZERS["char"]
    lm = language_model(tokenizer, vocab_size=tokenizer.vocab_size + 30)
    text = lm.generate("the", new, temperature=3.0, rng=rng)
    assert len(text) == 3 + new and set(text) <= set(tokenizer.characters)


# Invalid arguments


@pytest.mark.parametrize(
    "method, text, words",
    [
        *(
            (method, "", "the text must have at least one token")
            for method in ("logits", "generate", "stream", "perplexity")
        ),
        ("perplexity", "t", "perplexity: the text must have at least 2 tokens, not 1"),
        ("logits", TEXT[:17], "at most 16 tokens, the context, not 17"),
        ("generate", "thé", r"unknown character 'é' \(U\+00E9\) at position 2: this vocabulary has"),
    ],
)
def test_a_text_that_cannot_be_predicted_is_refused(method, text, words):
    characters = CharTokenizer.train(TEXT.replace("é", "e"))
    with pytest.raises(ValueError, match=words):
        getattr(language_model(characters), method)(text)


# The file


GROUPED = LLAMA | {"n_kv_heads": 1}
SCALED = {"positions": "rotary", "rope_scaling": {"rope_type": "linear", "factor": 2.0}}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("fields", [{}, GROUPED, SCALED, {"positions": "sinusoidal", "feed_forward": "relu"}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_save_and_load_give_back_every_bit(lm, fields, dtype, tmp_path):
    config = Config(lm.tokenizer.vocab_size, context=12, d_model=8, n_heads=2, dtype=dtype, **fields)
    saved = LanguageModel(Transformer(config, seed=4), lm.tokenizer)
    saved.save(tmp_path / "model.npz")
    loaded = LanguageModel.load(tmp_path / "model.npz")
    assert loaded.model.config == config
    before, after = dict(saved.model.named_parameters()), dict(loaded.model.named_parameters())
    assert list(before) == list(after)
    for name, parameter in before.items():
        assert parameter.data.dtype == after[name].data.dtype == dtype
        assert parameter.data.tobytes() == after[name].data.tobytes()
    assert loaded.tokenizer.to_dict() == lm.tokenizer.to_dict()
    assert np.array_equal(loaded.tokenizer.encode(TEXT), lm.tokenizer.encode(TEXT))
    text = TEXT[:8]
    assert saved.logits(text).tobytes() == loaded.logits(text).tobytes()
    assert saved.generate(text, 20) == loaded.generate(text, 20)


def test_a_folder_stands_for_the_model_in_it(tmp_path):
    lm = language_model(TOKENIZERS["byte"])
    lm.save(tmp_path / "model.npz")
    np.testing.assert_array_equal(LanguageModel.load(tmp_path).logits("the cat"), lm.logits("the cat"))
    (tmp_path / "model.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"the folder contains no model\.npz"):
        LanguageModel.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="missing: no such file or folder; to train a model"):
        LanguageModel.load(tmp_path / "missing")


def changed(tmp_path, change):
    """Save a model, let `change(arrays, description)` meddle with the contents, and return the new file's path."""
    path = tmp_path / "model.npz"
    language_model(ByteTokenizer()).save(path)
    arrays, description = load_archive(path)
    change(arrays, description)
    save_archive(path, arrays, {k: v for k, v in description.items() if k not in ("format", "version")})
    return path


def drop(name):
    return lambda arrays, description: arrays.pop(name)


def put(name, array):
    return lambda arrays, description: arrays.update({name: array})


def describe(**fields):
    return lambda arrays, description: description.update(fields)


def configure(**fields):
    return lambda arrays, description: description["config"].update(fields)


W_Q = "parameters.blocks.0.attention.w_q.weight"


@pytest.mark.parametrize(
    "change, words",
    [
        (drop(W_Q), "the parameter blocks.0.attention.w_q.weight"),
        (put("parameters.blocks.7.extra", np.zeros(3)), "unknown parameter blocks.7.extra"),
        (put(W_Q, np.zeros((8, 7))), r"w_q.weight is float64 \(8, 7\), .* requires float64 \(8, 8\)"),
        (configure(n_layers=3), "the parameter blocks.2"),
        (configure(colour="red"), "its description does not define a model .*colour"),
        (configure(vocab_size=200), r"the tokenizer has 256 tokens, but the model has only 200|does not fit"),
        (describe(tokenizer={"kind": "word"}), "does not define a model .*unknown kind of tokenizer 'word'"),
        (describe(tokenizer={"kind": "char"}), "does not define a model .*must have a valid entry 'characters'"),
        (configure(eps=10**400), r"does not define a model \(Config: eps must be at most 1.8e\+308 in absolute value"),
        (
            describe(config="x" * 10**6),
            r"does not define a model \(config must be a dictionary, not 'x{90,99}\.\.\.x{90,99}'\)",
        ),
        (describe(tokenizer=["char"]), r"does not define a model \(tokenizer must be a dictionary, not \['char'\]\)"),
        (describe(tokenizer={"kind": "none", "vocab_size": -5}), "vocab_size must be at least 1, not -5"),
        (
            describe(tokenizer={"kind": "char", "characters": "a\ud800"}),
            "lone surrogates, .* such as '.ud800' at position 1",
        ),
        (
            describe(tokenizer={"kind": "bpe", "tokens": ["a"], "merges": [], "token_names": {"a": 3}}),
            "token_names: a must be a string, not 3",
        ),
        (describe(kind="picture"), "contains no language model"),
    ],
)
def test_a_file_whose_contents_do_not_fit_together_is_refused_in_words(change, words, tmp_path):
    path = changed(tmp_path, change)
    with pytest.raises(ArchiveError, match=words) as caught:
        LanguageModel.load(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"n_layers": 3}, "the parameter blocks.2.norm1.gamma"),
        ({"n_layers": 10**4}, r"a model of 10,000 blocks and .* does not fit \d\d arrays"),
        ({"d_model": 10**5}, r"200,02\d,\d{3},\d{3} weights or more does not fit .* arrays of \d,\d{3} numbers"),
        ({"d_ff": 10**5}, r"feed_forward.up.weight is float64 \(8, 32\), .* float64 \(8, 10{5}\)"),
        ({"context": 3 * 10**7}, r"240,00\d,\d{3} weights or more does not fit .* arrays of \d,\d{3} numbers"),
    ],
)
def test_a_file_that_claims_more_than_it_has_is_refused_in_little_memory(fields, words, tmp_path):
    path = changed(tmp_path, configure(**fields))
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match=words):
            LanguageModel.load(path)
        assert tracemalloc.get_traced_memory()[1] < 5 * 10**6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary"])
def test_a_long_context_takes_no_memory_before_there_is_text_to_fill_it(positions, tmp_path):
    lm = language_model(ByteTokenizer(), positions=positions, context=3 * 10**7)
    lm.save(tmp_path / "model.npz")
    tracemalloc.start()
    try:
        loaded = LanguageModel.load(tmp_path / "model.npz")
        assert loaded.generate("cat", 3) == lm.generate("cat", 3)
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


def test_the_state_of_a_training_run_is_not_read_for_the_model(tmp_path):
    lm, path = language_model(ByteTokenizer()), tmp_path / "model.npz"
    lm.save(path, {"optimizer.m.ln_final.gamma": np.arange(700.0)})
    content = path.read_bytes()
    path.write_bytes(content.replace(np.arange(700.0).tobytes()[-8:], bytes(8)))
    assert LanguageModel.load(path).logits("cat").tobytes() == lm.logits("cat").tobytes()
    with pytest.raises(ArchiveError, match=r"optimizer.m.ln_final.gamma.*CRC"):
        load_archive(path)


# Special tokens of a real model's tokenizer


def with_special_tokens(**options):
    """A tokenizer with two special tokens, 280 and 281."""
    plain = TOKENIZERS["bpe"]
    special = {"<s>": plain.vocab_size, "</s>": plain.vocab_size + 1}
    tokens = [*plain.tokens, *(text.encode() for text in special)]
    return BPETokenizer(tokens, plain.merges, special_tokens=special, **options)


def test_the_token_that_begins_every_text_begins_every_text():
    lm = language_model(with_special_tokens(bos_id=280))
    text = "the cat sat"
    ids = np.array([280, *lm.tokenizer.encode(text)])
    assert lm.encode(text).tolist() == ids.tolist() and lm.encode(text).dtype == np.int64
    assert np.allclose(lm.logits(text), lm.model(ids[None])[0][0], rtol=1e-12)
    assert lm.encode("").tolist() == [280]
    continued = generate(lm.model, ids, 6, temperature=0)
    assert lm.generate(text, 6, temperature=0) == text + lm.tokenizer.decode(continued[len(ids) :])


def test_a_text_ends_where_the_model_ends_it_and_the_end_is_not_written():
    endless = language_model(with_special_tokens())
    ids = endless.encode("the cat sat")
    new = generate(endless.model, ids, 12, 1.0, rng=np.random.default_rng(1))[len(ids) :].tolist()
    end = new[7]
    lm = LanguageModel(endless.model, with_special_tokens(end_ids=[281, end]))
    settings = {"temperature": 1.0, "rng": np.random.default_rng(1)}
    expected = new[: new.index(end)]
    assert [int(i) for i in lm.stream_ids("the cat sat", 12, **settings)] == expected
    settings["rng"] = np.random.default_rng(1)
    assert lm.generate("the cat sat", 12, **settings) == "the cat sat" + lm.tokenizer.decode(expected)
    settings["rng"] = np.random.default_rng(1)
    assert "".join(endless.stream("the cat sat", 12, **settings)) == endless.tokenizer.decode(new)
