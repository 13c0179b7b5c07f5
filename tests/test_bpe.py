"""Byte-pair encoding against a splitter and a BPE as plain as can be, and against `regex` and `tokenizers`."""

import json
import random
import subprocess
import sys
import unicodedata
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minitransformer.text import BPETokenizer, bpe_training, default_corpus
from minitransformer.text.bpe import WordCache, apply_merges
from minitransformer.text.bpe_training import learn_merges
from minitransformer.text.gpt2_files import BYTE_TO_CHARACTER, spell
from minitransformer.text.splitting import split_words, whole_words

HARD_TEXTS = [
    "",
    "Don't they'll we've I'm he'd 'tis 'S 'LL it''s x'sy 's's's",
    "emoji 🙂🙂 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽",
    "e\u0301 a\u0308\u0323 Z\u0351\u036b\u0343 combining",
    "שלום עולם مرحبا بالعالم ١٢٣ \u200fabc\u200e",
    "日本語のテキスト。中文文本，没有空格 한국어",
    "Ⅷ ½ ² 一二三 ٣٤ 𝟘𝟙 1st 2nd x1y2",
    "\x00\x01\x1b[0m \x1c\x1d\x1e\x1f \x7f\x80\x9f",
    " \t \n\n  \r\n\u00a0\u2003 \u3000\u2028\u2029x \u180e\u200b\ufeff y \x85\x85 z ",
    "word\x1cword \x1c word\x1f\x1f word\x85word",
    "   leading, trailing   ",
    "<|endoftext|> <|endoftext|>text",
    "_under_score__ $100.00 50% a+b==c //--** ... !?",
    "ſ ŉ ǅ ß İ ı ﬁ ª º ʰ ¼",
    "a" * 10_000,
    "=" * 3_000 + " " * 3_000 + "\n" * 3_000 + "1" * 3_000,
]

# Few characters, so that they meet in all orders: letters of contractions, every kind of class and of white space.
tricky_text = st.text(
    alphabet=" '''stremvdlaST12½Ⅷ٣éב中\u0301.!🙂\n\n\t\r  \x1c\x1f\x85\xa0\u2003\u3000\u180e\u200b_", max_size=30
)


# --- oracles --------------------------------------------------------------------------------------------------------

WHITE_SPACE = {
    *map(chr, [*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B)]),
    *"\u2028\u2029\u202f\u205f\u3000",
}


def kind_of(character):
    if character in WHITE_SPACE:
        return "space"
    return {"L": "letter", "N": "number"}.get(unicodedata.category(character)[0], "other")


def naive_split(text):
    """GPT-2's expression, read out alternative by alternative with no regular expression."""
    words, i = [], 0
    while i < len(text):
        contraction = next((c for c in ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d") if text.startswith(c, i)), None)
        if contraction:
            j = i + len(contraction)
        else:
            first = i + 1 if text[i] == " " and i + 1 < len(text) else i
            if kind_of(text[first]) == "space":
                first = i
            kind = kind_of(text[first])
            j = first
            while j < len(text) and kind_of(text[j]) == kind:
                j += 1
            if kind == "space" and j < len(text) and j - i > 1:
                j -= 1
        words.append(text[i:j])
        i = j
    return words


def replaced(word, pair):
    """Merge the pair everywhere in a tuple of bytes, from left to right."""
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
    """Count every pair of every word anew for each merge."""
    words = Counter(tuple(bytes([b]) for b in word.encode()) for word in naive_split(text))
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
    """GPT-2's own loop: find the pair of lowest rank, merge it everywhere, begin again."""
    while True:
        known = [pair for pair in pairwise(word) if pair in ranks]
        if not known:
            return word
        word = replaced(word, min(known, key=ranks.get))


def naive_encode(text, tokens, merges):
    ids = {token: i for i, token in enumerate(tokens)}
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    words = [naive_merge(tuple(bytes([b]) for b in word.encode()), ranks) for word in naive_split(text)]
    return [ids[token] for word in words for token in word]


@pytest.fixture(scope="module")
def training_text():
    return default_corpus()[:60_000] + "\n".join(text[:200] for text in HARD_TEXTS) * 5


@pytest.fixture(scope="module")
def tokenizer(training_text):
    return BPETokenizer.train(training_text, 1500)


# --- splitting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, words",
    [
        ("Hello world", ["Hello", " world"]),
        ("Don't  stop at 42!", ["Don", "'t", " ", " stop", " at", " 42", "!"]),
        ("we'll WE'LL", ["we", "'ll", " WE", "'", "LL"]),
        ("abc123 x_y", ["abc", "123", " x", "_", "y"]),
        ("a\n\n  b", ["a", "\n\n ", " b"]),
        ("a \n", ["a", " \n"]),
        ("a  ", ["a", "  "]),
        ("a\tb", ["a", "\t", "b"]),
        ("a\t\tb", ["a", "\t", "\t", "b"]),
        ("a\xa0b", ["a", "\xa0", "b"]),
        ("a \x1c b", ["a", " \x1c", " b"]),  # U+001C is no White_Space
        ("naïve 日本語", ["naïve", " 日本語"]),
        ("e\u0301", ["e", "\u0301"]),  # a combining mark is no letter
        ("x² Ⅷ½", ["x", "²", " Ⅷ½"]),
        ("<|endoftext|>", ["<|", "endoftext", "|>"]),
    ],
)
def test_known_texts_split_as_in_gpt2(text, words):
    assert split_words(text) == words


@given(text=tricky_text | st.text())
def test_splitting_agrees_with_the_naive_splitter(text):
    assert split_words(text) == naive_split(text)


@pytest.mark.parametrize("text", HARD_TEXTS, ids=range(len(HARD_TEXTS)))
def test_hard_texts_split_like_the_naive_splitter(text):
    assert split_words(text) == naive_split(text)


def gpt2_expression():
    regex = pytest.importorskip("regex")
    return regex.compile(r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""")


def test_splitting_agrees_with_gpt2s_own_expression():
    expression = gpt2_expression()

    @given(text=tricky_text)
    def agrees(text):
        assert split_words(text) == expression.findall(text)

    agrees()
    for text in [*HARD_TEXTS, default_corpus()]:
        assert split_words(text) == expression.findall(text)


def test_every_assigned_character_has_the_class_it_has_for_gpt2():
    expression = gpt2_expression()
    assigned = [chr(i) for i in range(sys.maxunicode + 1) if unicodedata.category(chr(i)) not in ("Cn", "Cs")]
    text = "".join(f"a{character}1{character}!{character}" for character in assigned)
    assert split_words(text) == expression.findall(text)


def test_ascii_text_does_not_wait_for_a_scan_of_unicode():
    code = (
        "import unicodedata\n"
        "def refuse(c): raise AssertionError('scanned')\n"
        "unicodedata.category = refuse\n"
        "from minitransformer.text import BPETokenizer\n"
        "assert BPETokenizer.train('low lower lowest', 258).vocab_size == 258\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@given(text=tricky_text, data=st.data())
def test_a_text_splits_the_same_however_it_is_cut_into_chunks(text, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    chunks = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    pieces = list(whole_words(chunks))
    assert "".join(pieces) == text
    assert [word for piece in pieces for word in split_words(piece)] == split_words(text)


def test_chunks_are_passed_on_as_soon_as_a_cut_is_safe():
    assert list(whole_words(["ab c", "d e", "f", "\n", "\ng h"])) == ["ab", " cd", " ef", "\n\ng", " h"]


# --- training -------------------------------------------------------------------------------------------------------


def test_the_worked_example_of_the_page():
    words = [(b"low", 5), (b"lower", 2), (b"newest", 6), (b"widest", 3)]
    tokens, merges = learn_merges(words, 260)
    assert merges == [(b"e", b"s"), (b"es", b"t"), (b"l", b"o"), (b"lo", b"w")]
    tokenizer = BPETokenizer(tokens, merges)
    assert [tokenizer.decode([i]) for i in tokenizer.encode("lowest")] == ["low", "est"]


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


def test_training_on_real_text_agrees_with_counting_anew():
    text = default_corpus()[:8_000] + "naïve 日本語 🙂🙂 日本"
    tokenizer = BPETokenizer.train(text, 400)
    assert (tokenizer.tokens, tokenizer.merges) == naive_train(text, 400)


@given(pieces=st.lists(tricky_text, max_size=5))
def test_training_on_chunks_is_training_on_the_whole(pieces):
    assert BPETokenizer.train(iter(pieces), 270).merges == BPETokenizer.train("".join(pieces), 270).merges


def test_a_text_that_runs_out_of_pairs_gives_a_smaller_vocabulary():
    tokenizer = BPETokenizer.train("abc", 1000)
    assert tokenizer.vocab_size == 258 and tokenizer.tokens[256:] == [b"ab", b"abc"]
    assert BPETokenizer.train("", 1000).vocab_size == 256


@pytest.mark.parametrize("sizes", [[11], [1] * 40, [3, 5, 2, 30]])
def test_counting_stops_after_the_same_word_however_the_text_is_cut(sizes, monkeypatch):
    words = ["é", " a", " é", " b", " a", " a", " x", " é", " cd", " ef", " é"]
    monkeypatch.setattr(bpe_training, "ENOUGH", 14)  # 2 + 2 + 3 + 2 + 2 bytes, then 3 more: reached by " cd"
    pieces, rest = [], words
    for size in sizes:
        pieces.append("".join(rest[:size]))
        rest = rest[size:]
    assert bpe_training.count_words(pieces) == Counter(words[:9])
    monkeypatch.setattr(bpe_training, "ENOUGH", 100)
    assert bpe_training.count_words(pieces) == Counter(words)


def test_training_reports_each_merge():
    seen = []
    BPETokenizer.train("low lower", 259, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(257, 259), (258, 259), (259, 259)]


def test_a_vocabulary_smaller_than_the_bytes_is_refused():
    with pytest.raises(ValueError, match="vocab_size must be at least 256, the number of bytes, not 255"):
        BPETokenizer.train("abc", 255)


def test_the_cost_of_a_merge_is_the_number_of_its_places_not_the_length_of_the_text(monkeypatch):
    """A bound on the work itself, for a clock would depend on the machine: how often a pair is looked at."""
    looks = Counter()
    real = bpe_training.PairIndex._add

    def counted(self, place):
        looks["add"] += 1
        return real(self, place)

    monkeypatch.setattr(bpe_training.PairIndex, "_add", counted)
    text = default_corpus()
    letters = sum(len(word.encode()) + 1 for word in set(split_words(text)))
    BPETokenizer.train(text, 5_000)
    # Laying the words out looks once at each letter. A merge removes a symbol and looks at two new pairs.
    assert looks["add"] <= 3 * letters


# --- encoding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [text[:400] for text in HARD_TEXTS], ids=range(len(HARD_TEXTS)))
def test_hard_texts_encode_like_the_naive_bpe(tokenizer, text):
    assert tokenizer.encode(text).tolist() == naive_encode(text, tokenizer.tokens, tokenizer.merges)


@given(text=tricky_text)
def test_encoding_agrees_with_the_naive_bpe(tokenizer, text):
    assert tokenizer.encode(text).tolist() == naive_encode(text, tokenizer.tokens, tokenizer.merges)


@given(data=st.data())
def test_merging_agrees_with_gpt2s_loop_for_any_list_of_merges(data):
    """Also for lists that no training gives, where a pair that arises is of a lower rank than the one just merged."""
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


def test_a_pair_that_arises_waits_until_its_elders_are_done():
    """(a, bc) spells x = abc, and (x, a) is of a lower rank: GPT-2 still merges both (a, bc) first."""
    a, bc, abc, abca = range(4)
    merges = {(abc, a): (0, abca), (a, bc): (1, abc)}
    assert apply_merges([a, bc, a, bc], merges) == [abc, abc]


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


def test_the_cache_does_not_change_what_is_encoded_and_stays_small(tokenizer, training_text, monkeypatch):
    ids = tokenizer.encode(training_text)
    monkeypatch.setattr(WordCache, "MOST", 10)
    monkeypatch.setattr(WordCache, "LONGEST", 5)
    forgetful = BPETokenizer(tokenizer.tokens, tokenizer.merges)
    np.testing.assert_array_equal(forgetful.encode(training_text), ids)
    sizes = []
    for word in sorted(set(split_words(training_text)))[:100]:
        forgetful.encode(word)
        sizes.append(len(forgetful._word_ids))
    assert max(sizes) == 10
    assert max(map(len, forgetful._word_ids)) <= 5


# --- GPT-2's files --------------------------------------------------------------------------------------------------


def write_gpt2_files(folder, tokens, merges):
    """Write a vocabulary in GPT-2's format and with its order of ids: bytes as in its alphabet, merges, end of text."""
    base = [bytes([byte]) for byte in BYTE_TO_CHARACTER]
    ordered = [*base, *tokens[256:]]
    encoder = {spell(token): i for i, token in enumerate(ordered)} | {"<|endoftext|>": len(ordered)}
    (folder / "encoder.json").write_text(json.dumps(encoder))
    lines = ["#version: 0.2", *(f"{spell(left)} {spell(right)}" for left, right in merges)]
    (folder / "vocab.bpe").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "encoder.json", folder / "vocab.bpe"


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


def test_the_end_of_text_never_arises_from_text_but_decodes(gpt2_files):
    gpt2 = BPETokenizer.from_gpt2(*gpt2_files)
    end = gpt2.vocab_size - 1
    assert gpt2.special_tokens == {"<|endoftext|>": end}
    assert end not in gpt2.encode("<|endoftext|> a<|endoftext|>")
    assert gpt2.decode([*gpt2.encode("a"), end, *gpt2.encode("b")]) == "a<|endoftext|>b"


def test_special_tokens_survive_a_save(gpt2_files, tmp_path):
    gpt2 = BPETokenizer.from_gpt2(*gpt2_files)
    gpt2.save(tmp_path / "t.json")
    again = BPETokenizer.load(tmp_path / "t.json")
    assert again.special_tokens == gpt2.special_tokens and again.tokens == gpt2.tokens


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
        ("a 日", "'日' is no token: no byte is written as '日'"),
        ("zq zq", "the merge 'zq zq' needs 'zq', which has no id"),
        ("~ ÿ", "the merge '~ ÿ' needs '~ÿ', which has no id"),
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


def test_a_comment_sign_is_a_merge_like_any_other_after_the_first_line(tmp_path):
    tokens = [*(bytes([b]) for b in range(256)), b"##"]
    files = write_gpt2_files(tmp_path, tokens, [(b"#", b"#")])
    assert len(BPETokenizer.from_gpt2(*files).encode("###")) == 2


@pytest.mark.parametrize(
    "content, words",
    [
        ('{"a": 0', "not valid JSON, or truncated"),
        ("[]", "expected an object that maps tokens to ids, found a list"),
        ('{"a": 0, "b": 2}', "expected the ids 0 to 1, each an integer and each once"),
        ('{"a": 0, "b": 1.0}', "expected the ids 0 to 1, each an integer and each once"),
        ('{"a": 0, "b": "1"}', "expected the ids 0 to 1, each an integer and each once"),
    ],
)
def test_a_damaged_encoder_is_named(gpt2_files, content, words):
    encoder, merges = gpt2_files
    encoder.write_text(content)
    with pytest.raises(ValueError, match=words) as caught:
        BPETokenizer.from_gpt2(encoder, merges)
    assert str(caught.value).startswith(f"{encoder}: ")


def test_an_encoder_without_a_byte_is_refused(gpt2_files):
    encoder, merges = gpt2_files
    vocabulary = [token for token in json.loads(encoder.read_text()) if token != "Ã"]
    encoder.write_text(json.dumps({token: i for i, token in enumerate(vocabulary)}))
    merges.write_text("#version: 0.2\n")
    with pytest.raises(
        ValueError, match=r"encoder\.json: the token 'Ã' has no id, but every byte and every merge needs"
    ):
        BPETokenizer.from_gpt2(encoder, merges)


def test_missing_and_foreign_merges_files_are_refused(gpt2_files, tmp_path):
    encoder, merges = gpt2_files
    merges.write_bytes(b"\x93NUMPY\xff")
    with pytest.raises(ValueError, match=r"vocab\.bpe: not a merges file: not UTF-8 text"):
        BPETokenizer.from_gpt2(encoder, merges)
    with pytest.raises(FileNotFoundError, match=r"nothing\.bpe"):
        BPETokenizer.from_gpt2(encoder, tmp_path / "nothing.bpe")


def test_two_ids_for_one_token_are_refused():
    with pytest.raises(ValueError, match="the token 'a' has two ids"):
        BPETokenizer([*(bytes([b]) for b in range(256)), b"a"], [])


# --- another library ------------------------------------------------------------------------------------------------


def test_the_tokenizers_library_agrees_exactly(gpt2_files, training_text):
    tokenizers = pytest.importorskip("tokenizers")
    gpt2 = BPETokenizer.from_gpt2(*gpt2_files)
    model = tokenizers.models.BPE.from_file(*map(str, gpt2_files))
    other = tokenizers.Tokenizer(model)
    other.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    other.decoder = tokenizers.decoders.ByteLevel()
    for text in [*HARD_TEXTS, training_text, default_corpus()]:
        assert gpt2.encode(text).tolist() == other.encode(text).ids

    @given(text=tricky_text)
    def agrees(text):
        assert gpt2.encode(text).tolist() == other.encode(text).ids

    agrees()


@given(ids=st.lists(st.integers(0, 1499), max_size=20))
def test_any_ids_decode_with_what_is_no_utf8_replaced(tokenizer, ids):
    expected = b"".join(tokenizer.tokens[i] for i in ids)
    assert tokenizer.decode_bytes(ids) == expected
    assert tokenizer.decode(ids) == expected.decode("utf-8", errors="replace")
