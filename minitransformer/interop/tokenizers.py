"""Load tokenizers from Hugging Face folders and GGUF files, and save them for Transformers.

The package `tokenizers` runs the tokenizer of a real model (see text/pretrained.py). Apart from it, the files define
four attributes of a Tokenizer:

    bos_id          the token before every text, if any
    end_ids         the tokens that end a text, or a turn of a conversation
    chat_template   the template that writes a conversation as text
    token_names     {name: text} of special tokens, for the names that the template uses

These attributes are spread over several files, and no model has all of these files. The end_ids are collected from all
files that exist.
"""

import json
from pathlib import Path

from minitransformer.system.archive import ArchiveError, archive_errors, read_bounded
from minitransformer.system.extras import require
from minitransformer.system.files import write_json
from minitransformer.system.validation import brief, dictionary, one_of
from minitransformer.text import BPETokenizer, ByteTokenizer, CharTokenizer, NoTokenizer, PretrainedTokenizer
from minitransformer.text.gpt2_files import in_order_of_id, spell
from minitransformer.text.pretrained import byte_level_bpe, library_of
from minitransformer.text.tokenizer import read_json

TOKENIZER_FILE, TOKENIZER_CONFIG_FILE, TEMPLATE_FILE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
OTHER_FILES = "tokenizer.model", "vocab.json"  # of SentencePiece, and of older versions of Transformers
CONFIG_FILES = "generation_config.json", "config.json"  # in which eos_token_id is one id or a list

# {pre-tokenizer of llama.cpp, as named in a GGUF file: our name of this splitting}
GGUF_SPLITTINGS = {
    "gpt-2": "gpt2",
    "smollm": "smollm2",
    "llama-bpe": "llama3",
    "llama3": "llama3",
    "llama-v3": "llama3",
}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5  # kinds of token in a GGUF file
SPECIAL = UNKNOWN, CONTROL, USER_DEFINED
# {name of a special token in a template: key of its id in a GGUF file}
TOKEN_NAMES = {
    "bos_token": "ggml.bos_token_id",
    "eos_token": "ggml.eos_token_id",
    "unk_token": "ggml.unknown_token_id",
    "pad_token": "ggml.padding_token_id",
}
# Control tokens that llama.cpp recognises by name as the end of a text or a turn.
END_TEXTS = {"<|endoftext|>", "<|im_end|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>"}


def tokenizer_from_folder(path):
    """Load the tokenizer of a folder in the Hugging Face layout. Return None if it has none."""
    folder = Path(path)
    config = read_if_there(folder / TOKENIZER_CONFIG_FILE)
    if (folder / TOKENIZER_FILE).exists():
        content = read_json(folder / TOKENIZER_FILE)
        with archive_errors(folder / TOKENIZER_FILE):
            if dictionary("model", content.get("model")).get("type") == "WordLevel":
                return char_tokenizer(content["model"]["vocab"])
            tokenizer = PretrainedTokenizer(content)
            tokenizer.bos_id = first_added(tokenizer.library)
    else:
        for name in OTHER_FILES:
            if (folder / name).exists():
                raise ArchiveError(f"{folder / name}: a tokenizer without {TOKENIZER_FILE}, which is not supported")
        return None
    with archive_errors(folder / TOKENIZER_CONFIG_FILE):
        tokenizer.bos_id = first_token(tokenizer, config)
        tokenizer.chat_template = chat_template(folder, config)
        texts = {name: text_of(config.get(name)) for name in TOKEN_NAMES}
        tokenizer.token_names = {name: text for name, text in texts.items() if text is not None}
        ends = {*tokenizer.end_ids, tokenizer.special_tokens.get(texts["eos_token"])}
    for name in CONFIG_FILES:
        ids = read_if_there(folder / name).get("eos_token_id")
        ends.update(i for i in (ids if isinstance(ids, list) else [ids]) if type(i) is int)
    tokenizer.end_ids = tuple(sorted(i for i in ends - {None} if 0 <= i < tokenizer.vocab_size))
    return tokenizer


def read_if_there(path):
    return read_json(path) if path.exists() else {}


def char_tokenizer(vocab):
    characters = in_order_of_id(dictionary("vocab", vocab))
    if any(len(character) != 1 for character in characters) or characters != sorted(characters):
        raise ValueError("the model WordLevel is supported only for a vocabulary of characters in order of code point")
    return CharTokenizer("".join(characters))


def first_added(library):
    """Return the id that `library`, a tokenizers.Tokenizer, adds before each text, or None.

    Raises ValueError if it adds any other tokens.
    """
    plain, added = (library.encode("a", add_special_tokens=is_added).ids for is_added in (False, True))
    if added not in (plain, [added[0], *plain]):
        raise ValueError("the post_processor is not supported, only one token before the text")
    return added[0] if len(added) > len(plain) else None


def first_token(tokenizer, config):
    """Return the id of the token before every text, or None. tokenizer_config.json has priority."""
    for option in ("add_eos_token", "add_prefix_space"):
        if config.get(option):
            raise ValueError(f"{option} {config[option]!r} is not supported")
    if config.get("add_bos_token") is None:
        return tokenizer.bos_id
    if not config["add_bos_token"]:
        return None
    if text_of(config.get("bos_token")) not in tokenizer.special_tokens:
        raise ValueError(f"add_bos_token is true, but the bos_token {config.get('bos_token')!r} has no id")
    return tokenizer.special_tokens[text_of(config["bos_token"])]


def text_of(token):
    """Return the text of a special token, which tokenizer_config.json stores as a string, an object or null."""
    text = token["content"] if isinstance(token, dict) else token
    if not isinstance(text, str | None):
        raise ValueError(f"the text of a token must be a string or null, not {text!r}")
    return text


def chat_template(folder, config):
    """Return the chat template from its own file or from tokenizer_config.json, or None."""
    if (folder / TEMPLATE_FILE).exists():
        with archive_errors(folder / TEMPLATE_FILE):
            return read_bounded(folder / TEMPLATE_FILE).decode()
    template = config.get("chat_template")
    if isinstance(template, list):
        entries = [dictionary("chat_template", entry) for entry in template]
        template = {entry["name"]: entry["template"] for entry in entries}.get("default")
    if not isinstance(template, str | None):
        raise ValueError(f"chat_template must be a string, not {brief(template)}")
    return template


def tokenizer_from_gguf(reader):
    """Return the tokenizer of a GGUF file, or None if it has none. `reader` is a gguf.GGUFReader."""

    def get(name):
        field = reader.get_field(f"tokenizer.{name}")
        return None if field is None else field.contents()

    kind, pre = get("ggml.model"), get("ggml.pre")
    if kind in (None, "none", "no_vocab"):
        return None
    if kind != "gpt2":
        raise ValueError(f"the tokenizer {kind!r} is not supported, only 'gpt2', byte-level BPE")
    splitting = GGUF_SPLITTINGS[one_of("pre-tokenizer", pre, known=GGUF_SPLITTINGS)]
    if get("ggml.add_eos_token"):
        raise ValueError("tokenizer.ggml.add_eos_token is not supported")
    added = get("ggml.add_bos_token")
    begins = splitting == "llama3" if added is None else added  # as in llama.cpp
    for name in ("tokens", "token_type", "merges", *(["bos_token_id"] if begins else [])):
        if get(f"ggml.{name}") is None:
            raise ValueError(f"damaged (tokenizer.ggml.{name} is missing)")
    spelled, kinds = get("ggml.tokens"), get("ggml.token_type")
    if len(spelled) != len(kinds) or not {*kinds} <= {NORMAL, UNUSED, *SPECIAL}:
        raise ValueError("tokenizer.ggml.token_type must have one known type for each token")
    special = {text: i for i, (text, kind) in enumerate(zip(spelled, kinds, strict=True)) if kind in SPECIAL}
    named = {name: get(field) for name, field in TOKEN_NAMES.items() if get(field) is not None}
    for name, i in named.items():
        if not 0 <= i < len(spelled):
            raise ValueError(f"the id of the {name} must be from 0 to {len(spelled) - 1}, not {i}")
    named_ends = {get(f"ggml.{name}_token_id") for name in ("eos", "eot", "eom")} - {None}
    library = byte_level_bpe(spelled, get("ggml.merges"), special, splitting, ignore_merges=splitting == "llama3")
    return PretrainedTokenizer(
        json.loads(library.to_str()),
        bos_id=get("ggml.bos_token_id") if begins else None,
        end_ids=sorted(named_ends | {special[text] for text in END_TEXTS & special.keys()}),
        chat_template=get("chat_template"),
        token_names={name: spelled[i] for name, i in named.items()},
    )


def save_tokenizer(tokenizer, folder):
    """Write a tokenizer as the two JSON files that Transformers' AutoTokenizer loads.

    If token_names has no eos_token, the first of end_ids is used. For a NoTokenizer, no file is written.
    """
    if isinstance(tokenizer, NoTokenizer):
        return
    require("tokenizers", extra="interop")
    from tokenizers.processors import TemplateProcessing

    if isinstance(tokenizer, ByteTokenizer):  # equals byte-level BPE without merges
        tokenizer = BPETokenizer([bytes([byte]) for byte in range(256)], [])
    library, bos_id = library_for(tokenizer), tokenizer.bos_id
    named = {"bos_token": bos_id, "eos_token": next(iter(tokenizer.end_ids), None)}
    named = {name: library.id_to_token(i) for name, i in named.items() if i is not None}
    if bos_id is not None:
        bos = named["bos_token"]
        pair = [bos, "$A", f"{bos}:1", "$B:1"]
        library.post_processor = TemplateProcessing(single=pair[:2], pair=pair, special_tokens=[(bos, bos_id)])
    named |= tokenizer.token_names | {"chat_template": tokenizer.chat_template}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    config |= {name: text for name, text in named.items() if text is not None}
    write_json(Path(folder) / TOKENIZER_FILE, json.loads(library.to_str()))
    write_json(Path(folder) / TOKENIZER_CONFIG_FILE, config)


def library_for(tokenizer):
    """Convert a tokenizer to a tokenizers.Tokenizer."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    if isinstance(tokenizer, PretrainedTokenizer):
        return library_of(tokenizer.content)
    if isinstance(tokenizer, CharTokenizer):
        # The token for unknown characters does not exist, so an unknown character is also an error in Transformers.
        ids = {character: i for i, character in enumerate(tokenizer.characters)}
        library = Tokenizer(models.WordLevel(ids, unk_token="<unknown>"))
        library.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        library.decoder = decoders.Fuse()
        return library
    special = {i: text for text, i in tokenizer.special_tokens.items()}
    spelled = [special.get(i, spell(token)) for i, token in enumerate(tokenizer.tokens)]
    merges = [f"{spell(left)} {spell(right)}" for left, right in tokenizer.merges]
    return byte_level_bpe(spelled, merges, special.values(), "gpt2")
