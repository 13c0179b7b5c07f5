"""The promises of every tokenizer: text is restored, ids are checked, files are complete and validated."""

import json
import os

import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from minitransformer.text import BPETokenizer, ByteTokenizer, CharTokenizer, Tokenizer, tokenizer_from_dict

TRAINING_TEXT = (
    "the cat sat on the mat, the rat sat on the cat. Überall naïve façades: 日本語 日本 🙂🙂 don't we'll 12 1234\n\n  x"
)
BYTE = ByteTokenizer()
CHAR = CharTokenizer.train(TRAINING_TEXT)
BPE = BPETokenizer.train(TRAINING_TEXT, 320)

each = pytest.mark.parametrize("tokenizer", [BYTE, CHAR, BPE], ids=lambda tokenizer: tokenizer.kind)
each_byte_level = pytest.mark.parametrize("tokenizer", [BYTE, BPE], ids=lambda tokenizer: tokenizer.kind)

any_text = st.text()  # without lone surrogates, as hypothesis generates text
known_text = st.text(alphabet=sorted(set(TRAINING_TEXT)))


@each_byte_level
@given(text=any_text)
@example("")
@example("\r\n\x00\x1c\x85\u2028 \ufeff\ufffd\U0010ffff e\u0301 👩‍👩‍👧 عربي")
def test_encode_then_decode_is_the_identity_on_any_text(tokenizer, text):
    ids = tokenizer.encode(text)
    assert ids.ndim == 1 and ids.dtype == np.int64
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids.tolist()) == text
    assert tokenizer.decode(ids.astype(np.uint16)) == text


@each_byte_level
@given(data=st.binary())
@example(b"\xff\xc3 \xa9\xed\xa0\x80\xf4\x90")
def test_encode_then_decode_bytes_is_the_identity_on_any_bytes(tokenizer, data):
    assert tokenizer.decode_bytes(tokenizer.encode(data)) == data


@given(text=known_text)
def test_a_char_tokenizer_gives_back_any_text_of_its_characters(text):
    ids = CHAR.encode(text)
    assert ids.ndim == 1 and ids.dtype == np.int64 and len(ids) == len(text)
    assert CHAR.decode(ids) == text


@each
@given(pieces=st.lists(known_text))
def test_chunks_of_a_text_have_the_ids_of_the_whole(tokenizer, pieces):
    whole = tokenizer.encode("".join(pieces))
    joined = np.concatenate([np.empty(0, np.int64), *tokenizer.encode_chunks(pieces)])
    np.testing.assert_array_equal(joined, whole)


@each
@given(data=st.data())
def test_any_ids_decode_and_a_stream_of_them_decodes_alike(tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    assert "".join(tokenizer.decode_stream(iter(ids))) == tokenizer.decode(ids)


def test_a_char_tokenizer_numbers_its_characters_by_code_point():
    tokenizer = CharTokenizer.train("hello")
    assert tokenizer.characters == "ehlo" and tokenizer.vocab_size == 4
    assert tokenizer.encode("hole").tolist() == [1, 3, 2, 0]


def test_an_unknown_character_is_named_with_its_position_and_what_is_known():
    tokenizer = CharTokenizer.train("abc")
    with pytest.raises(ValueError, match=r"unknown character '日' \(U\+65E5\) at position 2: .* 3 characters, 'abc'"):
        tokenizer.encode("ab日c")
    for below_and_between in ("A", "z"):
        with pytest.raises(ValueError, match=f"unknown character '{below_and_between}'"):
            tokenizer.encode(below_and_between)


def test_positions_in_errors_count_from_the_start_of_the_whole_text():
    with pytest.raises(ValueError, match=r"'Z'.* at position 5"):
        list(CHAR.encode_chunks(["t", "he", " cZt"]))
    for tokenizer in (BYTE, BPE):
        with pytest.raises(ValueError, match="at position 5"):
            list(tokenizer.encode_chunks(["t", "he", " c\udc80t"]))


def test_the_known_characters_are_abbreviated_when_there_are_many():
    tokenizer = CharTokenizer.train("".join(map(chr, range(0x4E00, 0x4E00 + 500))))
    with pytest.raises(ValueError, match=r"500 characters, .* and 440 more") as caught:
        tokenizer.encode("a")
    assert len(str(caught.value)) < 200


@each_byte_level
def test_a_lone_surrogate_is_refused(tokenizer):
    for surrogate in ("\ud800", "\udc80", "\udfff"):
        with pytest.raises(ValueError, match=r"lone surrogates, .* such as '\\ud.*' at position 2"):
            tokenizer.encode(f"ab{surrogate}c")


@pytest.mark.parametrize("train", [CharTokenizer.train, lambda text: BPETokenizer.train(text, 300)])
def test_training_refuses_a_lone_surrogate_and_what_is_not_text(train):
    with pytest.raises(ValueError, match=r"lone surrogates, .* at position 3"):
        train(["ab", "c\ud800"])
    with pytest.raises(TypeError, match="text must be a str or an iterable of str, not bytes"):
        train(b"abc")
    with pytest.raises(TypeError, match="text must be a str or an iterable of str, not int"):
        train(3)
    with pytest.raises(TypeError, match="text must be a str or an iterable of str, not an iterable of bytes"):
        train([b"abc"])


@each
def test_encode_refuses_what_is_not_text(tokenizer):
    with pytest.raises(TypeError, match="text must be a str, not list"):
        tokenizer.encode(["a"])


@each
def test_decode_refuses_ids_that_are_none(tokenizer):
    size = tokenizer.vocab_size
    with pytest.raises(ValueError, match=f"ids must be from 0 to {size - 1}, not {size} .at position 2"):
        tokenizer.decode([0, 1, size])
    with pytest.raises(ValueError, match=r"ids must be from 0 to .*, not -1 .at position 1"):
        tokenizer.decode([0, -1])
    with pytest.raises(TypeError, match="ids must be integers, not float64"):
        tokenizer.decode([0.0, 1.0])
    with pytest.raises(TypeError, match="ids must be integers, not bool"):
        tokenizer.decode([True])
    with pytest.raises(ValueError, match=r"ids must be a 1-D sequence, not an array of shape \(1, 2\)"):
        tokenizer.decode([[0, 1]])


@each
def test_a_saved_tokenizer_comes_back_the_same(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    for again in (
        Tokenizer.load(path),
        type(tokenizer).load(path),
        tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict()))),
    ):
        assert type(again) is type(tokenizer) and again.vocab_size == tokenizer.vocab_size
        np.testing.assert_array_equal(again.encode(TRAINING_TEXT), tokenizer.encode(TRAINING_TEXT))
        assert again.to_dict() == tokenizer.to_dict()
        assert (again.bos_id, again.end_ids, again.chat_template) == (None, (), None)
    assert os.listdir(tmp_path) == ["tokenizer.json"]


def test_a_file_from_before_there_were_special_tokens_is_read(tmp_path):
    content = BPE.to_dict()
    older = {name: content[name] for name in ("kind", "tokens", "merges")}
    assert tokenizer_from_dict(older).to_dict() == content
    older["tokens"].append("<|endoftext|>")
    assert tokenizer_from_dict(older).special_tokens == {"<|endoftext|>": BPE.vocab_size}


@pytest.mark.parametrize("kind", [Tokenizer, BPETokenizer])
def test_files_that_hold_no_tokenizer_are_refused_in_one_line(kind, tmp_path):
    path = tmp_path / "tokenizer.json"

    def words_for(content):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"tokenizer\.json: ") as caught:
            kind.load(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    whole = json.dumps(BPE.to_dict()).encode()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        assert "expected JSON, found invalid or truncated text" in words_for(whole[:length])
    for content in (b"\x93NUMPY\xff", b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}"):
        assert "expected JSON, found invalid or truncated text" in words_for(content)
    assert "expected a JSON object, found [1]" in words_for(b"[1]")
    assert "expected a JSON object, found None" in words_for(b"null")
    for content in (b"{}", b'{"kind": "word"}', b'{"kind": ["bpe"]}'):
        assert "unknown kind of tokenizer" in words_for(content)
    if kind is BPETokenizer:
        assert "expected a tokenizer of kind 'bpe', found kind 'byte'" in words_for(b'{"kind": "byte"}')
    assert "a tokenizer must have a valid entry 'merges', not None" in words_for(b'{"kind": "bpe", "tokens": []}')
    assert "its tokens and merges must be strings" in words_for(b'{"kind": "bpe", "tokens": [1], "merges": []}')
    assert "expected two tokens with one space" in words_for(b'{"kind": "bpe", "tokens": [], "merges": ["a"]}')
    assert "at least one token" in words_for(b'{"kind": "bpe", "tokens": [], "merges": []}')
    assert "tokens must contain 'b'" in words_for(b'{"kind": "bpe", "tokens": ["a"], "merges": ["a b"]}')
    for option in ("special_tokens", "bos_id", "end_ids", "chat_template"):
        content = {"kind": "bpe", "tokens": ["a"], "merges": [], option: 0.5}
        assert f"must have a valid entry {option!r}" in words_for(json.dumps(content).encode())
    for option in ('"splitting": "llama3"', '"ignore_merges": true'):
        content = f'{{"kind": "bpe", "tokens": ["a"], "merges": [], {option}}}'
        assert "must split a text as GPT-2 does; load the model's own files" in words_for(content.encode())
    with pytest.raises(FileNotFoundError, match="No such file"):
        kind.load(tmp_path / "nothing.json")
