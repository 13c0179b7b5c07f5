"""Where text comes from, how it becomes ids without being held as a whole, and the batches cut from them."""

import io
import os
import sys
import threading
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minitransformer.text import (
    DEFAULT_CORPUS,
    IGNORE_INDEX,
    BPETokenizer,
    ByteTokenizer,
    CharTokenizer,
    TextFiles,
    chunks as chunks_module,
    corpora as corpora_module,
    default_corpus,
    random_batch,
    sequential_blocks,
    tokenize_corpus,
)

TRAINERS = {
    "byte": lambda text: ByteTokenizer(),
    "char": CharTokenizer.train,
    "bpe": lambda text: BPETokenizer.train(text, 300),
}


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="text.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write_file


@pytest.fixture(params=[1, 2, 3, 7])
def small_chunks(request, monkeypatch):
    """Cut files and texts into chunks of so few bytes that characters and words fall apart."""
    monkeypatch.setattr(chunks_module, "CHUNK", request.param)
    monkeypatch.setattr(corpora_module, "CHUNK", request.param)


def test_the_default_corpus_is_the_language_reference_and_says_so():
    text = default_corpus()
    assert 300_000 < len(text) < 1_000_000
    headings = ['The "assert" statement', 'The "while" statement', 'The "yield" statement']
    places = [text.index(heading) for heading in headings]
    assert places == sorted(places)
    assert text == default_corpus()
    assert "pydoc_data.topics" in DEFAULT_CORPUS and "Python 3." in DEFAULT_CORPUS


@pytest.mark.usefixtures("small_chunks")
def test_files_come_one_after_another_and_as_often_as_asked(write):
    first, second = write("né日🙂\r\n", "a.txt"), write("\x00x e\u0301", "b.txt")
    text = TextFiles([str(first), second])
    assert "".join(text) == "né日🙂\n\x00x e\u0301" == "".join(text)
    assert all(text) and len(list(text)) > 1
    assert text.name == f"{first}, {second}"
    assert "".join(TextFiles(first)) == "né日🙂\n"


@pytest.mark.usefixtures("small_chunks")
def test_marks_of_windows_are_no_letters_of_the_text(write):
    text = TextFiles([write("\ufeffa\r\n\r\nb\r", "a.txt"), write("\ufeffé\rc\ufeff\n", "b.txt")])
    assert "".join(text) == "a\n\nb\né\nc\ufeff\n" == "".join(text)
    assert CharTokenizer.train(text).characters == "\nabcé\ufeff"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_can_be_read_twice(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=("through a pipe",))
    writer.start()
    text = TextFiles([path])
    writer.join()
    assert "".join(text) == "through a pipe" == "".join(text)


def test_files_that_cannot_be_read_are_named(tmp_path, write, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: '.*nothing\.txt'"):
        TextFiles([tmp_path / "nothing.txt"])
    with pytest.raises(IsADirectoryError, match="Is a directory: "):
        TextFiles([tmp_path])
    with pytest.raises(ValueError, match=r"empty\.txt is empty"):
        TextFiles([write("something"), write("", "empty.txt")])
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO()))
    with pytest.raises(ValueError, match="standard input is empty"):
        TextFiles(["-"])
    with pytest.raises(ValueError, match="paths must contain at least one text file"):
        TextFiles([])


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    "content, byte, position",
    [
        (b"plain\xff", 0xFF, 5),
        ("né日🙂".encode() + b"\xe9t\xe9", 0xE9, 10),
        ("né日".encode() + b"\xf0\x9f", 0xF0, 6),  # cut short at the end
        (b"abc\xed\xa0\x80", 0xED, 3),  # a surrogate
        (b"\xef\xbb\xbfa\r\n\xff", 0xFF, 6),
        (b"\x80", 0x80, 0),
        ("abcdefgh".encode("utf-16"), 0xFF, 0),
    ],
)
def test_the_first_byte_that_is_not_utf8_is_named_with_its_position(write, content, byte, position):
    path = write(content)
    with pytest.raises(ValueError) as caught:
        list(TextFiles([path]))
    assert str(caught.value) == f"{path}: expected UTF-8 text, found the byte 0x{byte:02x} at position {position}"


@given(text=st.text(min_size=1), validation=st.sampled_from([0.0, 0.1, 0.25, 0.5]))
def test_the_split_is_of_characters_and_each_side_is_encoded_by_itself(text, validation):
    tokenizer = ByteTokenizer()
    corpus = tokenize_corpus(text, tokenizer, validation=validation)
    cut = int(len(text) * (1 - validation))
    np.testing.assert_array_equal(corpus.train_ids, tokenizer.encode(text[:cut]))
    np.testing.assert_array_equal(corpus.val_ids, tokenizer.encode(text[cut:]))
    assert corpus.characters == len(text)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("kind", ["byte", "char", "bpe"])
def test_chunks_do_not_change_a_corpus(kind, write):
    text = default_corpus()[:700] + "né日🙂 \n\n don't" * 20
    train = TRAINERS[kind]
    path = write(text)
    tokenizer = train(TextFiles([path]))
    assert tokenizer.to_dict() == train(text).to_dict()
    corpus = tokenize_corpus(TextFiles([path]), tokenizer)
    cut = int(len(text) * 0.9)
    np.testing.assert_array_equal(corpus.train_ids, tokenizer.encode(text[:cut]))
    np.testing.assert_array_equal(corpus.val_ids, tokenizer.encode(text[cut:]))
    assert corpus.name == str(path)


@pytest.mark.parametrize("size, dtype", [(256, np.uint8), (257, np.uint16), (65536, np.uint16), (65537, np.uint32)])
def test_ids_are_kept_in_the_smallest_dtype_that_fits_the_vocabulary(size, dtype):
    class Numbers(ByteTokenizer):
        vocab_size = size

        def _encode(self, text, start):
            return np.array([0, size - 1])

    corpus = tokenize_corpus("ab", Numbers(), validation=0.5)
    assert corpus.train_ids.dtype == corpus.val_ids.dtype == dtype
    assert corpus.train_ids.tolist() == [0, size - 1]


@pytest.mark.usefixtures("small_chunks")
def test_progress_is_told_in_characters_up_to_the_last(write):
    seen = []
    text = "né日🙂 abc" * 10
    tokenize_corpus(TextFiles([write(text)]), ByteTokenizer(), progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert {total for _, total in seen} == {len(text)} and seen[-1] == (len(text), len(text))
    assert len(seen) > 10


@pytest.mark.parametrize("validation", [-0.1, 1, 1.5, float("nan")])
def test_a_validation_fraction_out_of_range_is_refused(validation):
    with pytest.raises(ValueError, match="validation must be at least 0 and less than 1, not"):
        tokenize_corpus("abc", ByteTokenizer(), validation=validation)


def test_a_split_too_short_for_one_block_is_named_with_both_numbers():
    corpus = tokenize_corpus("a" * 100, ByteTokenizer(), name="my text")
    corpus.require_context(9)
    with pytest.raises(
        ValueError, match="my text: the validation split must have at least 11 tokens for a context of 10, not 10"
    ):
        corpus.require_context(10)
    with pytest.raises(ValueError, match="the training split must have at least 91 tokens for a context of 90, not 90"):
        corpus.require_context(90)
    tokenize_corpus("a" * 100, ByteTokenizer(), validation=0).require_context(99)


@pytest.mark.parametrize("kind", ["byte", "char", pytest.param("bpe", marks=pytest.mark.slow)])
def test_a_file_is_never_held_as_a_whole(kind, write, monkeypatch):
    """The text's str and its list of words would be many times the file: all that is kept is the ids, a byte each."""
    monkeypatch.setattr(chunks_module, "CHUNK", 2**14)
    monkeypatch.setattr(corpora_module, "CHUNK", 2**14)
    size = 2_000_000
    path = write(("the quick brown fox jumps over the lazy dog\n" * (size // 44 + 1))[:size])
    text = TextFiles(path)
    tracemalloc.start()
    try:
        tokenizer = TRAINERS[kind](text)
        trained = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        corpus = tokenize_corpus(text, tokenizer)
        tokenized = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    ids = corpus.train_ids.nbytes + corpus.val_ids.nbytes
    assert trained < size / 2
    assert tokenized < 1.25 * ids + size / 2


@given(n=st.integers(6, 40), context=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_random_batch_holds_contiguous_windows_and_targets_one_later(n, context, seed):
    ids = np.arange(100, 100 + n, dtype=np.uint8)
    inputs, targets = random_batch(ids, 7, context, np.random.default_rng(seed))
    assert inputs.shape == targets.shape == (7, context)
    assert inputs.dtype == targets.dtype == np.int64
    np.testing.assert_array_equal(inputs, inputs[:, :1] + np.arange(context))
    np.testing.assert_array_equal(targets, inputs + 1)
    assert inputs.min() >= 100 and targets.max() < 100 + n


@given(n=st.integers(2, 60), context=st.integers(1, 7), batch_size=st.integers(1, 4))
def test_sequential_blocks_ask_for_every_token_but_the_first_exactly_once(n, context, batch_size):
    ids = np.random.default_rng(n).permutation(np.arange(n, dtype=np.uint16) + 1)  # each id once: it tells its place
    batches = list(sequential_blocks(ids, context, batch_size))
    asked = []
    for inputs, targets in batches:
        assert inputs.shape == targets.shape and inputs.shape[1] == context and 1 <= inputs.shape[0] <= batch_size
        assert inputs.dtype == targets.dtype == np.int64
        counted = targets != IGNORE_INDEX
        asked += targets[counted].tolist()
        place = {int(i): at for at, i in enumerate(ids)}
        assert all(place[t] == place[x] + 1 for x, t in zip(inputs[counted], targets[counted], strict=True))
        assert (inputs[~counted] == 0).all()
        assert counted.any(axis=1).all()
        assert (np.diff(counted.astype(int), axis=1) <= 0).all()  # padding stands on the right only
    assert asked == ids[1:].tolist()
    assert all(len(inputs) == batch_size for inputs, _ in batches[:-1])
