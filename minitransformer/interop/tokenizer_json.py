"""Conversion between tokenizer.json, the hub's format, and the tokenizers of this package.

The file describes a pipeline of named steps with options. These steps correspond to ours:

    normalizer        changes to the text before all other steps   none
    added_tokens      special tokens between texts                 special_tokens
    pre_tokenizer     text to words                                the splitting of GPT-2, SmolLM2 or Llama 3
    model             word to tokens                               BPE: vocab and merges
    post_processor    tokens added before and after the text       at most one token before the text, bos_id
    decoder           ids to text                                  the bytes of the tokens, joined

A step is either supported or rejected by name. All added tokens become special tokens. A vocabulary of characters has
its own pipeline, so that a small model can be saved and loaded again.
"""

from minitransformer.system.values import dictionary
from minitransformer.text import BPETokenizer, CharTokenizer
from minitransformer.text.gpt2_files import in_order_of_id, parse_merge, spell, token_bytes

GPT2_EXPRESSION = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3_EXPRESSION = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_level(use_regex):
    """Return the step that writes bytes in GPT-2's alphabet, and first splits by GPT-2's rule if `use_regex`."""
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def split_step(expression):
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}


# The variants of the steps of each splitting. All are read, and the first is written.
SPLITTINGS = {
    "gpt2": [[byte_level(True)], [split_step(GPT2_EXPRESSION), byte_level(False)]],
    "smollm2": [[{"type": "Digits", "individual_digits": True}, byte_level(True)]],
    "llama3": [[split_step(LLAMA3_EXPRESSION), byte_level(False)]],
}
CHARACTERS = split_step(r"[\s\S]")
# Options of the model step that change its tokens; they are off if null, false or "".
UNSUPPORTED = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")


def from_tokenizer_json(content):
    """Return the tokenizer in a tokenizer.json. Raises ValueError if it is not supported.

    A missing entry, or an entry of the wrong type, may raise AttributeError, IndexError, KeyError or TypeError.
    """
    for step in ("normalizer", "pre_tokenizer", "model", "post_processor", "decoder"):
        dictionary(step, content.get(step) or {})
    if content.get("normalizer"):
        raise ValueError(f"the normalizer {content['normalizer']['type']} is not supported")
    if content["model"].get("type") == "WordLevel" and content["pre_tokenizer"] == CHARACTERS:
        return char_tokenizer(content)
    return bpe_tokenizer(content)


def bpe_tokenizer(content):
    model, decoder = content["model"], content.get("decoder") or {"type": "ByteLevel"}
    if model.get("type", "BPE") != "BPE":
        raise ValueError(f"the model's type must be 'BPE', or 'WordLevel' of characters, not {model['type']!r}")
    for option in UNSUPPORTED:
        if model.get(option):
            raise ValueError(f"the model's {option} {model[option]!r} is not supported")
    if decoder.get("type") != "ByteLevel":
        raise ValueError(f"the decoder {decoder['type']} is not supported, only ByteLevel")
    special = special_tokens(content.get("added_tokens") or [])
    spelled = in_order_of_id(dictionary("vocab", model["vocab"]) | special)
    return BPETokenizer(
        [token.encode() if token in special else token_bytes(token) for token in spelled],
        [parse_merge(merge if isinstance(merge, str) else " ".join(merge)) for merge in model["merges"]],
        splitting=splitting_of(steps_of(content.get("pre_tokenizer"), "pretokenizers")),
        special_tokens=special,
        ignore_merges=bool(model.get("ignore_merges", False)),
        bos_id=first_of_template(steps_of(content.get("post_processor"), "processors")),
    )


def steps_of(step, name) -> list:
    """Return a step as a list. For a Sequence, return its steps, which are under `name`; for null, return []."""
    return [] if not step else step[name] if step["type"] == "Sequence" else [step]


def special_tokens(added):
    for token in added:
        for option in ("single_word", "lstrip", "rstrip"):
            if token.get(option):
                raise ValueError(f"the added token {token['content']!r} has {option}, which is not supported")
    return {token["content"]: token["id"] for token in added}


def splitting_of(steps):
    """Return the name of the splitting that consists of these steps of a pre_tokenizer."""
    # In older files, ByteLevel has no use_regex, which is then true. Other options do not change the words.
    plain = {"type": "ByteLevel", "add_prefix_space": False}
    canonical = [byte_level(s.get("use_regex", True)) if s | plain == s else s for s in steps]
    for name, known in SPLITTINGS.items():
        if canonical in known:
            return name
    raise ValueError(f"the pre_tokenizer {str(steps)[:300]} is not supported, only {', '.join(SPLITTINGS)}")


def first_of_template(steps):
    """Return the id that a post_processor adds before the text, or None. Raises ValueError for any other token."""
    templates = [s for s in steps if s["type"] != "ByteLevel"]  # ByteLevel changes only offsets
    if not templates:
        return None
    first, text = templates[0], {"Sequence": {"id": "A", "type_id": 0}}
    if len(templates) == 1 and first["type"] == "TemplateProcessing" and first["single"][-1:] == [text]:
        names = [piece["SpecialToken"]["id"] for piece in first["single"][:-1]]
        ids = [i for name in names for i in first["special_tokens"][name]["ids"]]
        if len(ids) <= 1:
            return ids[0] if ids else None
    raise ValueError(f"the post_processor {str(templates)[:300]} is not supported, only one token before the text")


def char_tokenizer(content):
    characters = in_order_of_id(content["model"]["vocab"])
    if any(len(character) != 1 for character in characters) or characters != sorted(characters):
        raise ValueError("the model WordLevel is supported only for a vocabulary of characters in order of code point")
    if content.get("added_tokens") or content.get("post_processor"):
        raise ValueError("a vocabulary of characters with added tokens or a post_processor is not supported")
    return CharTokenizer("".join(characters))


def to_tokenizer_json(tokenizer):
    """Return the content of a tokenizer.json for a BPETokenizer or a CharTokenizer."""
    content = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None}
    if isinstance(tokenizer, CharTokenizer):
        # The token for unknown characters does not exist, so an unknown character is also an error in Transformers.
        vocab = {character: i for i, character in enumerate(tokenizer.characters)}
        model = {"type": "WordLevel", "vocab": vocab, "unk_token": "<unknown>"}
        steps = {"pre_tokenizer": CHARACTERS, "post_processor": None, "decoder": {"type": "Fuse"}}
        return content | steps | {"model": model}
    special = {i: text for text, i in tokenizer.special_tokens.items()}
    spelled = [special.get(i, spell(token)) for i, token in enumerate(tokenizer.tokens)]
    vocab = {token: i for i, token in enumerate(spelled)}
    if len(vocab) != len(spelled):
        raise ValueError("special tokens must differ from all other tokens in a tokenizer.json")
    options = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    steps = SPLITTINGS[tokenizer.splitting][0]
    return content | {
        "added_tokens": [{"id": i, "content": text, **options} for i, text in sorted(special.items())],
        "pre_tokenizer": steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps},
        "post_processor": None if tokenizer.bos_id is None else template(spelled[tokenizer.bos_id], tokenizer.bos_id),
        "decoder": byte_level(True),
        "model": {
            "type": "BPE",
            **dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")),
            **dict.fromkeys(("fuse_unk", "byte_fallback"), False),
            "ignore_merges": tokenizer.ignore_merges,
            "vocab": vocab,
            "merges": [f"{spell(left)} {spell(right)}" for left, right in tokenizer.merges],
        },
    }


def template(token, i):
    """Return the step that adds the token with id i before a text."""

    def piece(kind, name, type_id):
        return {kind: {"id": name, "type_id": type_id}}

    single = [piece("SpecialToken", token, 0), piece("Sequence", "A", 0)]
    pair = [*single, piece("SpecialToken", token, 1), piece("Sequence", "B", 1)]
    special = {token: {"id": token, "ids": [i], "tokens": [token]}}
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}
