"""The ids of a long text are kept in a folder, and read from there by the next run on the same text."""

import json

import numpy as np
import pytest

from minitransformer.text import BPETokenizer, CharTokenizer, kept, kept_corpus, tokenize_corpus

TEXT = "the cat sat on the mat, and the rät ate it. " * 40


@pytest.fixture(autouse=True)
def every_text_is_long(monkeypatch):
    monkeypatch.setattr(kept, "LONG", 100)


@pytest.fixture
def encodings(monkeypatch):
    """The list of the texts' names that are encoded, in order."""
    names = []

    def encode(text, tokenizer, *, name, progress):
        names.append(name)
        return tokenize_corpus(text, tokenizer, name=name, progress=progress)

    monkeypatch.setattr(kept, "tokenize_corpus", encode)
    return names


def assert_same(corpus, text, tokenizer):
    expected = tokenize_corpus(text, tokenizer)
    for ids, others in ((corpus.train_ids, expected.train_ids), (corpus.val_ids, expected.val_ids)):
        assert ids.dtype == others.dtype
        np.testing.assert_array_equal(ids, others)
    assert (corpus.fingerprint, corpus.characters) == (expected.fingerprint, expected.characters)


def test_a_text_is_encoded_once_and_then_mapped_from_the_folder(tmp_path, encodings):
    tokenizer = BPETokenizer.train(TEXT, 280)
    for name in ("first", "second"):
        corpus = kept_corpus(TEXT, tokenizer, [tmp_path], name=name)
        assert corpus.name == name
        assert_same(corpus, TEXT, tokenizer)
        assert isinstance(corpus.train_ids.base, np.memmap)
    assert encodings == ["first"]


def test_the_folder_of_another_run_is_read_and_not_written_to(tmp_path, encodings):
    tokenizer = CharTokenizer.train(TEXT)
    kept_corpus(TEXT, tokenizer, [tmp_path / "a"], name="a")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()}
    assert_same(kept_corpus(TEXT, tokenizer, [tmp_path / "b", tmp_path / "a"], name="b"), TEXT, tokenizer)
    kept_corpus(TEXT + "!", CharTokenizer.train(TEXT + "!"), [tmp_path / "b", tmp_path / "a"], name="c")
    assert encodings == ["a", "c"]
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").iterdir()} == before


@pytest.mark.parametrize("change", ["text", "split", "tokenizer"])
def test_another_text_or_tokenizer_is_encoded_again(tmp_path, encodings, change):
    kept_corpus(TEXT, BPETokenizer.train(TEXT, 280), [tmp_path], name="before")
    text = {"text": TEXT.replace("cat", "rat", 1), "split": [TEXT, "a"]}.get(change, TEXT)
    tokenizer = BPETokenizer.train(TEXT, 270 if change == "tokenizer" else 280)
    assert_same(kept_corpus(text, tokenizer, [tmp_path], name="after"), text, tokenizer)
    assert encodings == ["before", "after"]


@pytest.mark.parametrize("division", [[TEXT], [TEXT[:7], TEXT[7:]], list(TEXT)])
def test_the_division_into_chunks_does_not_matter(tmp_path, encodings, division):
    tokenizer = CharTokenizer.train(TEXT)
    kept_corpus(TEXT, tokenizer, [tmp_path], name="whole")
    kept_corpus(division, tokenizer, [tmp_path], name="divided")
    assert encodings == ["whole"]


def set_entry(name, value):
    def change(folder):
        facts = json.loads((folder / kept.FACTS_FILE).read_text())
        (folder / kept.FACTS_FILE).write_text(json.dumps(facts | {name: value}))

    return change


def other_id(folder):
    path = folder / kept.TRAIN_FILE
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        other_id,
        set_entry("ids", "0"),
        lambda folder: (folder / kept.TRAIN_FILE).unlink(),
        lambda folder: (folder / kept.VALIDATION_FILE).write_bytes(b""),
        lambda folder: (folder / kept.FACTS_FILE).write_text("[" * 100_000),
        lambda folder: np.save(folder / kept.TRAIN_FILE, np.array([{}]), allow_pickle=True),
    ],
)
def test_a_damaged_file_is_not_used_and_is_replaced(tmp_path, encodings, damage):
    tokenizer = CharTokenizer.train(TEXT)
    kept_corpus(TEXT, tokenizer, [tmp_path], name="before")
    damage(tmp_path)
    for _ in range(2):
        assert_same(kept_corpus(TEXT, tokenizer, [tmp_path], name="after"), TEXT, tokenizer)
    assert encodings == ["before", "after"]


def test_a_short_text_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "LONG", len(TEXT) + 1)
    assert_same(kept_corpus(TEXT, CharTokenizer.train(TEXT), [tmp_path]), TEXT, CharTokenizer.train(TEXT))
    assert not list(tmp_path.iterdir())
