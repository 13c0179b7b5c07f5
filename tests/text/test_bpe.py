"""Byte-pair encoding against a BPE as plain as can be, and against other libraries."""

import json
import random
import sys
import unicodedata
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hard_texts import HARD_TEXTS, ORIGINALS, tricky_text, write_gpt2_files
from hypothesis import example, given, strategies as st

from minitransformer.text import BPETokenizer, bpe, bpe_training, default_corpus
from minitransformer.text.gpt2_files import BYTE_TO_CHARACTER, spell
from minitransformer.text.merging import WordCache, apply_merges
from minitransformer.text.splitting import split_words, whole_words


def replaced(word, pair):
    result, i = [], 0
    while i < len(word):
        if tuple(word[i : i + 2]) == pair:
            result.append(pair[0] + pair[1])
            i += 2
        else:
            result.append(word[i])
            i += 1
    return tuple(result)


def naive_train(text, vocab_size):
    words = Counter(tuple(bytes([b]) for b in word.encode()) for word in split_words(text))
    tokens, merges = [bytes([b]) for b in range(256)], []
    while len(tokens) < vocab_size:
        counts = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                counts[pair] += count
        if not counts:
            break
        ids = {token: i for i, token in enumerate(tokens)}
        best = min(counts, key=lambda pair: (-counts[pair], ids[pair[0]], ids[pair[1]]))
        merges.append(best)
        tokens.append(best[0] + best[1])
        new_words = Counter()
        for word, count in words.items():
            new_words[replaced(word, best)] += count
        words = new_words
    return tokens, merges


def naive_merge(word, ranks):
    """Find the pair of lowest rank, of several the leftmost, merge it, begin again."""
    while True:
        known = [(ranks[pair], i) for i, pair in enumerate(pairwise(word)) if pair in ranks]
        if not known:
            return word
        _, i = min(known)
        word = (*word[:i], word[i] + word[i + 1], *word[i + 2 :])


def naive_encode(text, tokens, merges):
    ids = {token: i for i, token in enumerate(tokens)}
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    words = [naive_merge(tuple(bytes([b]) for b in word.encode()), ranks) for word in split_words(text)]
    return [ids[token] for word in words for token in word]


@pytest.fixture(scope="module")
def training_text():
    return default_corpus()[:60_000] + "\n".join(text[:200] for text in HARD_TEXTS) * 5


@pytest.fixture(scope="module")
def tokenizer(training_text):
    return BPETokenizer.train(training_text, 1500)


@pytest.mark.parametrize(
    "text, words",
    [
        ("Don't  stop at 42!", ["Don", "'t", " ", " stop", " at", " 42", "!"]),
        ("we'll WE'LL", ["we", "'ll", " WE", "'", "LL"]),
        ("a\n\n  b", ["a", "\n\n ", " b"]),
        ("a \n", ["a", " \n"]),
        ("a \x1c b", ["a", " \x1c", " b"]),  # U+001C does not have the property White_Space
        ("naïve 日本語", ["naïve", " 日本語"]),
        ("e\u0301", ["e", "\u0301"]),  # a combining mark is not a letter
        ("x² Ⅷ½", ["x", "²", " Ⅷ½"]),
        ("<|endoftext|>", ["<|", "endoftext", "|>"]),
    ],
)
def test_known_texts_split_as_in_gpt2(text, words):
    assert split_words(text) == words


def test_splitting_agrees_with_the_models_own_expression():
    original = pytest.importorskip("regex").compile(ORIGINALS["gpt2"]).findall

    @given(text=tricky_text)
    def agrees(text):
        assert split_words(text) == original(text)

    agrees()
    for text in [*HARD_TEXTS, default_corpus()]:
        assert split_words(text) == original(text)


@pytest.mark.slow
def test_every_assigned_character_has_the_class_it_has_for_the_model():
    original = pytest.importorskip("regex").compile(ORIGINALS["gpt2"]).findall
    assigned = [chr(i) for i in range(sys.maxunicode + 1) if unicodedata.category(chr(i)) not in ("Cn", "Cs")]
    text = "".join(f"a{character}1{character}!{character}" for character in assigned)
    assert split_words(text) == original(text)


@given(text=tricky_text, data=st.data())
def test_a_text_splits_the_same_however_it_is_cut_into_chunks(text, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    chunks = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    pieces = list(whole_words(chunks))
    assert "".join(pieces) == text
    assert [word for piece in pieces for word in split_words(piece)] == split_words(text)


@given(text=st.text(alphabet="aab '1\n", max_size=60), extra=st.integers(0, 40))
@example(text="aaaaaaaaaaaaaaa aaa aa", extra=20)
@example(text="abababab babababa", extra=20)
def test_training_agrees_with_counting_anew_for_every_merge(text, extra):
    tokenizer = BPETokenizer.train(text, 256 + extra)
    tokens, merges = naive_train(text, 256 + extra)
    assert tokenizer.merges == merges
    assert tokenizer.tokens == tokens


@pytest.mark.parametrize("seed", range(4))
def test_training_on_words_of_few_letters_agrees_for_hundreds_of_merges(seed):
    """Ties and overlaps abound here; and no two merges spell the same token."""
    rng = random.Random(seed)
    text = " ".join("".join(rng.choices("ab", k=rng.randint(1, 60))) for _ in range(30))
    tokenizer = BPETokenizer.train(text, 600)
    tokens, merges = naive_train(text, 600)
    assert tokenizer.merges == merges and tokenizer.tokens == tokens
    assert len(merges) > 200 and len(set(tokens)) == len(tokens)


def test_the_example_at_the_top_of_the_file_merges_as_it_says():
    tokenizer = BPETokenizer.train("low lower newest widest", 260)
    learned = "   ".join(f"{i}: {a.decode()} {b.decode()}" for i, (a, b) in enumerate(tokenizer.merges, start=1))
    assert f"With the merges  {learned}  learned from" in bpe.__doc__
    steps = ["l o w e s t"]
    for left, right in tokenizer.merges:
        steps.append(steps[-1].replace(f"{left.decode()} {right.decode()}", f"{left.decode()}{right.decode()}"))
    assert "   →   ".join(["lowest", *steps]) + "\n" in bpe.__doc__


@pytest.mark.parametrize("sizes", [[11], [1] * 40, [3, 5, 2, 30]])
def test_training_stops_reading_after_the_same_word_however_the_text_is_cut(sizes, monkeypatch):
    words = ["é", " a", " é", " b", " a", " a", " x", " é", " cd", " ef", " ef"]
    monkeypatch.setattr(bpe_training, "ENOUGH", 12)  # 2 + 2 + 3 + 2 + 2 bytes, then 3 more: reached by " cd"
    pieces, rest = [], words
    for size in sizes:
        pieces.append("".join(rest[:size]))
        rest = rest[size:]
    assert b" ef" not in BPETokenizer.train(pieces, 999).tokens
    assert BPETokenizer.train(pieces, 999).merges == BPETokenizer.train("".join(words[:9]), 999).merges
    monkeypatch.undo()
    assert b" ef" in BPETokenizer.train(pieces, 999).tokens


def test_training_reports_each_merge_and_ends_when_no_pair_is_left():
    seen = []
    tokenizer = BPETokenizer.train("abc", 1000, progress=lambda done, total: seen.append((done, total)))
    assert tokenizer.tokens[256:] == [b"ab", b"abc"] and seen == [(257, 1000), (258, 1000)]
    assert BPETokenizer.train("", 1000).vocab_size == 256
    assert BPETokenizer.train("abc", 257).tokens[256:] == [b"ab"]


@given(text=tricky_text | st.sampled_from([text[:400] for text in HARD_TEXTS]))
def test_encoding_agrees_with_the_naive_bpe(tokenizer, text):
    assert tokenizer.encode(text).tolist() == naive_encode(text, tokenizer.tokens, tokenizer.merges)


def test_forgetting_words_does_not_change_what_is_encoded(tokenizer, training_text, monkeypatch):
    monkeypatch.setattr(WordCache, "MOST", 10)
    monkeypatch.setattr(WordCache, "LONGEST", 5)
    forgetful = BPETokenizer(tokenizer.tokens, tokenizer.merges)
    np.testing.assert_array_equal(forgetful.encode(training_text), tokenizer.encode(training_text))


@given(data=st.data())
def test_merging_agrees_with_the_plain_loop_for_any_list_of_merges(data):
    """Also for lists that no training gives, where a pair that arises is of a lower rank than the one just merged.

    Llama 3's list is one: it was made from its tokens, and names every pair that spells one of them.
    """
    tokens = data.draw(st.lists(st.text("ab", min_size=2, max_size=5), max_size=12, unique=True))
    pairs = [(t[:i].encode(), t[i:].encode()) for t in tokens for i in range(1, len(t))]
    known = {b"a", b"b", *(t.encode() for t in tokens)}
    merges = data.draw(st.permutations([pair for pair in pairs if set(pair) <= known]))
    names = sorted(known)
    ids = {name: i for i, name in enumerate(names)}
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    table = {(ids[a], ids[b]): (rank, ids[a + b]) for (a, b), rank in ranks.items()}
    word = data.draw(st.text("ab", max_size=25)).encode()
    merged = apply_merges([ids[bytes([b])] for b in word], table)
    assert [names[i] for i in merged] == list(naive_merge(tuple(bytes([b]) for b in word), ranks))


def test_a_long_word_is_merged_without_looking_through_it_again_and_again():
    class CountingDict(dict):
        looks = 0

        def __contains__(self, key):
            self.looks += 1
            return super().__contains__(key)

        def get(self, key, default=None):
            self.looks += 1
            return super().get(key, default)

    n = 10_000
    merges = CountingDict({(2**k, 2**k): (k, 2 ** (k + 1)) for k in range(13)})  # the ids are the lengths
    left = apply_merges([1] * n, merges)
    assert left == [8192, 1024, 512, 256, 16]  # n in binary
    assert merges.looks < 10 * n


@pytest.fixture
def gpt2_files(tokenizer, tmp_path):
    return write_gpt2_files(tmp_path, tokenizer.tokens, tokenizer.merges)


def test_the_alphabet_is_gpt2s():
    assert [spell(bytes([b])) for b in b" \n\t\x00\xad\x7f!~\xa1\xff"] == [*"ĠĊĉĀŃġ!~¡ÿ"]
    assert "".join(BYTE_TO_CHARACTER.values()).startswith("!\"#$%&'()*+,-./0123456789:;<=>?@ABC")
    assert list(BYTE_TO_CHARACTER.values()).index("Ġ") == 220  # its id in GPT-2's encoder.json
    assert list(BYTE_TO_CHARACTER.values()).index("Ċ") == 198
    assert len(set(BYTE_TO_CHARACTER.values())) == 256


def test_gpt2_files_give_the_same_tokens_under_their_own_ids(gpt2_files, tokenizer, training_text):
    gpt2 = BPETokenizer.from_gpt2(*gpt2_files)
    assert gpt2.vocab_size == tokenizer.vocab_size + 1
    assert gpt2.encode("!")[0] == 0 and gpt2.encode("A")[0] == 32 and gpt2.encode("\n")[0] == 198
    for text in [*HARD_TEXTS, training_text]:
        ids = gpt2.encode(text)
        assert [gpt2.tokens[i] for i in ids] == [tokenizer.tokens[i] for i in tokenizer.encode(text)]
        assert gpt2.decode(ids) == text


def test_merges_files_with_windows_line_ends_or_without_a_version_are_read(gpt2_files, tokenizer):
    encoder, merges = gpt2_files
    content = merges.read_bytes()
    for variant in (content.replace(b"\n", b"\r\n"), content.split(b"\n", 1)[1], content.rstrip(b"\n")):
        merges.write_bytes(variant)
        assert BPETokenizer.from_gpt2(encoder, merges).merges == tokenizer.merges


@pytest.mark.parametrize(
    "line, words",
    [
        ("Ġ", "expected two tokens with one space between them, found 'Ġ'"),
        ("", "expected two tokens with one space between them, found ''"),
        ("a b c", "expected two tokens with one space between them, found 'a b c'"),
        ("a  b", "expected two tokens with one space between them, found 'a  b'"),
        ("a 日", "the token '日' contains '日', which GPT-2's alphabet lacks"),
    ],
)
def test_a_malformed_merge_is_named_by_file_and_line(gpt2_files, line, words):
    encoder, merges = gpt2_files
    lines = merges.read_text(encoding="utf-8").split("\n")
    lines[6] = line
    merges.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        BPETokenizer.from_gpt2(encoder, merges)
    assert str(caught.value) == f"{merges}, line 7: {words}"


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("encoder.json", b'{"a": 0', "expected JSON, found invalid or truncated text"),
        ("encoder.json", b"[]", r"expected a JSON object, found \[\]"),
        ("encoder.json", b'{"a": 0, "b": 2}', "the ids must be the integers 0 to 1, each of them once"),
        ("encoder.json", b'{"a": 0, "b": 1.0}', "the ids must be the integers 0 to 1, each of them once"),
        ("vocab.bpe", b"\x93NUMPY\xff", "expected two tokens with one space"),
    ],
)
def test_a_damaged_file_is_named(gpt2_files, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}.*: {words}"):
        BPETokenizer.from_gpt2(*gpt2_files)


def test_a_vocabulary_without_a_byte_refuses_the_texts_that_need_it(gpt2_files):
    encoder, merges = gpt2_files
    vocabulary = [token for token in json.loads(encoder.read_text()) if token not in ("Ą", "é")]
    encoder.write_text(json.dumps({token: i for i, token in enumerate(vocabulary)}))
    merges.write_text("#version: 0.2\n")
    tokenizer = BPETokenizer.from_gpt2(encoder, merges)
    assert tokenizer.decode(tokenizer.encode("é ok")) == "é ok"  # which is C3 A9, and no E9
    with pytest.raises(ValueError, match=r"no token for the byte 0x04 of ' \\x04'"):
        tokenizer.encode("end \x04")
    with pytest.raises(ValueError, match=r"no token for the byte 0xe9 of '\\udce9'"):
        tokenizer.encode(b"\xe9")


@pytest.fixture(scope="module")
def special(tokenizer):
    """The tokenizer with special tokens, of which one begins another, and one is spelled like a word."""
    texts = ["<|end|>", "<|end|>s", " the", "日本"]
    ids = {text: tokenizer.vocab_size + i for i, text in enumerate(texts)}
    tokens = [*tokenizer.tokens, *(text.encode() for text in texts)]
    return BPETokenizer(tokens, tokenizer.merges, special_tokens=ids)


def test_special_tokens_never_arise_from_text(special, tokenizer):
    text = "a<|end|>s the <|end|>日本<|end|"
    assert special.encode(text).tolist() == tokenizer.encode(text).tolist()
    assert special.encode(text.encode()).tolist() == tokenizer.encode(text).tolist()
    assert special.split_at_special_tokens(text) == ["a", "<|end|>s", "", " the", " ", "<|end|>", "", "日本", "<|end|"]


@given(pieces=st.lists(st.sampled_from(["<|end|>", "<|end|>s", " the", "日本", "<|", "s", " ", "thé", "1"])))
def test_special_tokens_decode_to_their_text(special, pieces):
    text = "".join(pieces)
    for ids in (special.encode(text), special.joined_ids(special.split_at_special_tokens(text), special.encode)):
        assert special.decode(ids) == text and "".join(special.decode_stream(ids)) == text


def test_all_that_a_tokenizer_knows_survives_a_save(tokenizer, tmp_path):
    tokens = [*tokenizer.tokens, b"<s>", b"</s>"]
    options = {
        "special_tokens": {"<s>": tokenizer.vocab_size, "</s>": tokenizer.vocab_size + 1},
        "bos_id": tokenizer.vocab_size,
        "end_ids": (tokenizer.vocab_size + 1, 5),
        "chat_template": "{{ messages }}",
    }
    BPETokenizer(tokens, tokenizer.merges, **options).save(tmp_path / "t.json")
    again = BPETokenizer.load(tmp_path / "t.json")
    assert again.tokens == tokens and again.merges == tokenizer.merges
    assert {name: getattr(again, name) for name in options} == options


BYTES = [bytes([b]) for b in range(256)]


@pytest.mark.parametrize(
    "parts, words",
    [
        ({"bos_id": 256}, "a special token must have an integer id from 0 to 255, not 256"),
        ({"end_ids": [-1]}, "a special token must have an integer id from 0 to 255, not -1"),
        ({"special_tokens": {"a": "b"}}, "a special token must have an integer id from 0 to 255, not 'b'"),
        ({"special_tokens": {"": 3}}, "special_tokens must differ in ids and texts, not "),
        ({"special_tokens": {"a": 3, "b": 3}}, "special_tokens must differ in ids and texts, not "),
        ({"tokens": [*BYTES, b"a"]}, "tokens must be different, but 'a' occurs twice"),
        ({"merges": [(b"a", b"b")]}, "tokens must contain 'ab'"),
        ({"tokens": [b"a", b"ab"], "merges": [(b"a", b"b")]}, "tokens must contain 'b'"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, words):
    with pytest.raises(ValueError, match=words):
        BPETokenizer(**{"tokens": BYTES, "merges": []} | parts)
    with pytest.raises(ValueError, match="vocab_size must be at least 256, the number of bytes, not 255"):
        BPETokenizer.train("abc", 255)
