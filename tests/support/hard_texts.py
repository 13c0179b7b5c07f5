"""Texts at which tokenizers differ, the models' own expressions that split a text, and GPT-2's two files."""

import json

from hypothesis import strategies as st

from minitransformer.text.gpt2_files import BYTE_TO_CHARACTER, spell

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
    "it'ſ it'ſe IT'ſ 'ſt K'ſ 'RE'Ve'lL",  # the long s is an s to whoever looks past capitals
    "1234567 12345 ١٢٣٤٥ 1½2 v1.25  7   8\n9\t0",
    "f(x) (x $x \tx !\n\n!\r\nx ...\n x  \n\n  x \n \n",
    "a" * 10_000,
    "=" * 3_000 + " " * 3_000 + "\n" * 3_000 + "1" * 3_000,
]

# Few characters, so that they meet in all orders: letters of contractions, every kind of class and of white space.
tricky_text = st.text(
    alphabet=" '''stremvdlaST12½Ⅷ٣éב中\u0301.!🙂\n\n\t\r  \x1c\x1f\x85\xa0\u2003\u3000\u180e\u200b_", max_size=30
)

# The models' own expressions: SmolLM2's files give it in two steps, digits first.
DIGITS = r"\p{N}"
ORIGINALS = {
    "gpt2": r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
}


def splitter_of(tokenizers, splitting):
    """Return the pre-tokenizer of the package tokenizers that splits a text in this way."""
    pre = tokenizers.pre_tokenizers
    if splitting == "gpt2":
        return pre.ByteLevel(add_prefix_space=False)
    if splitting == "smollm2":
        return pre.Sequence([pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False)])
    split = pre.Split(tokenizers.Regex(ORIGINALS[splitting]), "isolated")
    return pre.Sequence([split, pre.ByteLevel(add_prefix_space=False, use_regex=False)])


def write_gpt2_files(folder, tokens, merges):
    """Write a vocabulary in GPT-2's format and with its order of ids: bytes as in its alphabet, merges, end of text."""
    base = [bytes([byte]) for byte in BYTE_TO_CHARACTER]
    ordered = [*base, *tokens[256:]]
    encoder = {spell(token): i for i, token in enumerate(ordered)} | {"<|endoftext|>": len(ordered)}
    (folder / "encoder.json").write_text(json.dumps(encoder))
    lines = ["#version: 0.2", *(f"{spell(left)} {spell(right)}" for left, right in merges)]
    (folder / "vocab.bpe").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "encoder.json", folder / "vocab.bpe"
