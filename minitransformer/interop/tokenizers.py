"""The tokenizer of a model from elsewhere, from a folder of the hub or a GGUF file, and ours for others to read.

Besides the tokens, their merges and how a text becomes words, a model's files say four things that a Tokenizer keeps:

    bos_id          which token stands before every text, if one does
    end_ids         which tokens end a text, or a turn of a conversation
    chat_template   how a conversation is written
    token_names     the texts of special tokens by the names that the template knows

They say so in several places, of which no model has all. What ends a text by any of them ends it here.
"""

from contextlib import contextmanager
from functools import partial
from pathlib import Path

from minitransformer.archive import ArchiveError, read_bounded
from minitransformer.interop.tokenizer_json import from_tokenizer_json, to_tokenizer_json
from minitransformer.text import BPETokenizer, ByteTokenizer, NoTokenizer
from minitransformer.text.gpt2_files import parse_merge, token_bytes
from minitransformer.text.tokenizer import read_json, write_json
from minitransformer.values import brief, dictionary

TOKENIZER_FILE, TOKENIZER_CONFIG_FILE, TEMPLATE_FILE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
GPT2_FILES, ADDED_TOKENS_FILE = ("vocab.json", "merges.txt"), "added_tokens.json"
SENTENCEPIECE_FILE = "tokenizer.model"
CONFIG_FILES = "generation_config.json", "config.json"  # where eos_token_id may be one id, or several

# The pre-tokenizers of llama.cpp that are a splitting of ours, by the name that a GGUF file gives them.
GGUF_SPLITTINGS = {
    "gpt-2": "gpt2",
    "smollm": "smollm2",
    "llama-bpe": "llama3",
    "llama3": "llama3",
    "llama-v3": "llama3",
}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5  # kinds of token in a GGUF file
# The names of special tokens in a template, and what a GGUF file calls their ids.
TOKEN_NAMES = {
    "bos_token": "ggml.bos_token_id",
    "eos_token": "ggml.eos_token_id",
    "unk_token": "ggml.unknown_token_id",
    "pad_token": "ggml.padding_token_id",
}
SPECIAL = UNKNOWN, CONTROL, USER_DEFINED
# Control tokens that llama.cpp takes for the end of a text or a turn by their name, whatever else a file says.
END_TEXTS = {"<|endoftext|>", "<|im_end|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>"}


@contextmanager
def errors_name(path):
    """Name the file in the words of whatever is wrong with its contents, as an ArchiveError."""
    try:
        yield
    except ArchiveError:  # of another file, which it names
        raise
    except ValueError as error:
        raise ArchiveError(f"{path}: {error}") from None
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ArchiveError(f"{path}: not what it should be, or damaged ({type(error).__name__}: {error})") from None


def tokenizer_from_folder(path):
    """Return the tokenizer in a folder of the Hugging Face layout, or None where there is none.

    It is read from tokenizer.json, or else from GPT-2's two files, vocab.json and merges.txt.
    Raises ArchiveError, a ValueError, for damaged files and, by its name, for what is not supported; OSError where a
    file cannot be read.
    """
    folder = Path(path)
    config = read_if_there(folder / TOKENIZER_CONFIG_FILE)
    if (folder / TOKENIZER_FILE).exists():
        content = read_json(folder / TOKENIZER_FILE)
        with errors_name(folder / TOKENIZER_FILE):
            tokenizer = from_tokenizer_json(content)
    elif all((folder / name).exists() for name in GPT2_FILES):
        tokenizer = from_two_files(folder, config)
    elif (folder / SENTENCEPIECE_FILE).exists():
        raise ArchiveError(f"{folder / SENTENCEPIECE_FILE}: a tokenizer of SentencePiece, which is not supported")
    else:
        return None
    if isinstance(tokenizer, BPETokenizer):
        with errors_name(folder / TOKENIZER_CONFIG_FILE):
            tokenizer.bos_id = first_token(tokenizer, config)
            tokenizer.chat_template = chat_template(folder, config)
            texts = {name: text_of(config.get(name)) for name in TOKEN_NAMES}
            tokenizer.token_names = {name: text for name, text in texts.items() if text is not None}
        tokenizer.end_ids = end_ids(tokenizer, folder, config)
    return tokenizer


def read_if_there(path):
    """Return the JSON object in a file, an empty one if there is no such file."""
    return read_json(path) if path.exists() else {}


def from_two_files(folder, config):
    """Return the tokenizer in vocab.json and merges.txt, which must be GPT-2's: they do not say how a text is split."""
    kind = config.get("tokenizer_class", "GPT2Tokenizer")
    if kind not in ("GPT2Tokenizer", "GPT2TokenizerFast"):
        raise ArchiveError(f"{folder}: without {TOKENIZER_FILE}, a {kind!r} is not supported, only a GPT2Tokenizer")
    if read_if_there(folder / ADDED_TOKENS_FILE):
        raise ArchiveError(f"{folder / ADDED_TOKENS_FILE}: added tokens without a {TOKENIZER_FILE} are not supported")
    try:
        return BPETokenizer.from_gpt2(*(folder / name for name in GPT2_FILES))
    except ValueError as error:  # which names the file
        raise ArchiveError(str(error)) from None


def first_token(tokenizer, config):
    """Return the id that stands before every text: tokenizer_config.json has the last word, where it says anything."""
    for option in ("add_eos_token", "add_prefix_space"):
        if config.get(option):
            raise ValueError(f"{option} {config[option]!r} is not supported")
    if config.get("add_bos_token") is None:
        return tokenizer.bos_id
    if not config["add_bos_token"]:
        return None
    bos_id = id_of(tokenizer, config.get("bos_token"))
    if bos_id is None:
        raise ValueError(f"add_bos_token is true, but the bos_token {config.get('bos_token')!r} has no id")
    return bos_id


def text_of(token):
    """Return the text of a token as tokenizer_config.json has it, a str or an object; None for none."""
    text = token["content"] if isinstance(token, dict) else token
    if not isinstance(text, str | None):
        raise ValueError(f"expected the text of a token, found {text!r}")
    return text


def id_of(tokenizer, token):
    """Return the id of a token as tokenizer_config.json has it; None for none."""
    text = text_of(token)
    if text in tokenizer.special_tokens:
        return tokenizer.special_tokens[text]
    spelled = token_bytes(text) if text is not None else None
    return tokenizer.tokens.index(spelled) if spelled in tokenizer.tokens else None


def chat_template(folder, config):
    """Return the chat template: of a file of its own, or in tokenizer_config.json, there one or several with names."""
    if (folder / TEMPLATE_FILE).exists():
        content = read_bounded(folder / TEMPLATE_FILE)
        with errors_name(folder / TEMPLATE_FILE):
            return content.decode()
    template = config.get("chat_template")
    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in map(partial(dictionary, "chat_template"), template)}
        template = template.get("default")
    if not isinstance(template, str | None):
        raise ValueError(f"the chat_template is {brief(template)}, not a text")
    return template


def end_ids(tokenizer, folder, config):
    """Return the ids of all that the files of a folder call eos, in order, those left out that the vocabulary lacks."""
    ends = {*tokenizer.end_ids}
    with errors_name(folder / TOKENIZER_CONFIG_FILE):
        ends.add(id_of(tokenizer, config.get("eos_token")))
    for name in CONFIG_FILES:
        ids = read_if_there(folder / name).get("eos_token_id")
        with errors_name(folder / name):
            ends.update(i for i in (ids if isinstance(ids, list) else [ids]) if type(i) is int)
    return tuple(sorted(i for i in ends - {None} if 0 <= i < tokenizer.vocab_size))


def tokenizer_from_gguf(reader):
    """Return the tokenizer in the metadata of a GGUF file, given gguf's GGUFReader of it, or None where there is none.

    Raises ArchiveError, a ValueError, for damaged metadata and, by its name, for what is not supported.
    """
    with errors_name(reader.data.filename):
        return from_metadata(lambda name: contents(reader, f"tokenizer.{name}"))


def contents(reader, name):
    """Return what a field of a GGUF file's metadata holds, or None if there is no such field."""
    field = reader.get_field(name)
    return None if field is None else field.contents()


def from_metadata(get):
    """Return the tokenizer that metadata describe; get(name) returns a field's contents, or None."""
    kind, pre = get("ggml.model"), get("ggml.pre")
    if kind in (None, "none", "no_vocab"):
        return None
    if kind != "gpt2":
        raise ValueError(f"the tokenizer {kind!r} is not supported, only 'gpt2', byte-level BPE")
    if pre not in GGUF_SPLITTINGS:
        raise ValueError(f"the pre-tokenizer {pre!r} is not supported; known are {', '.join(GGUF_SPLITTINGS)}")
    if get("ggml.add_eos_token"):
        raise ValueError("tokenizer.ggml.add_eos_token is not supported")
    for name in ("tokens", "token_type", "merges"):
        if get(f"ggml.{name}") is None:
            raise ValueError(f"not what it should be, or damaged (tokenizer.ggml.{name} is missing)")
    spelled, kinds = get("ggml.tokens"), get("ggml.token_type")
    if len(spelled) != len(kinds) or not {*kinds} <= {NORMAL, UNUSED, *SPECIAL}:
        raise ValueError("tokenizer.ggml.token_type is not one known type for each token")
    special = {text: i for i, (text, kind) in enumerate(zip(spelled, kinds, strict=True)) if kind in SPECIAL}
    splitting = GGUF_SPLITTINGS[pre]
    named_ends = {get(f"ggml.{name}_token_id") for name in ("eos", "eot", "eom")} - {None}
    return BPETokenizer(
        [text.encode() if kind in SPECIAL else token_bytes(text) for text, kind in zip(spelled, kinds, strict=True)],
        map(parse_merge, get("ggml.merges")),
        splitting=splitting,
        special_tokens=special,
        ignore_merges=splitting == "llama3",
        bos_id=first_token_of_metadata(get, splitting),
        end_ids=sorted(named_ends | {special[text] for text in END_TEXTS & special.keys()}),
        chat_template=get("chat_template"),
        token_names=names_in_metadata(get, spelled),
    )


def names_in_metadata(get, spelled):
    """Return the texts of special tokens by the names that a template knows."""
    ids = {name: get(field) for name, field in TOKEN_NAMES.items() if get(field) is not None}
    for name, i in ids.items():
        if not 0 <= i < len(spelled):
            raise ValueError(f"the {name} has the id {i}: ids run from 0 to {len(spelled) - 1}")
    return {name: spelled[i] for name, i in ids.items()}


def first_token_of_metadata(get, splitting):
    """Return the id that stands before every text; where the file does not say, Llama 3 has one, as for llama.cpp."""
    added = get("ggml.add_bos_token")
    if not (splitting == "llama3" if added is None else added):
        return None
    if get("ggml.bos_token_id") is None:
        raise ValueError("a token stands before every text, but tokenizer.ggml.bos_token_id does not say which")
    return get("ggml.bos_token_id")


def save_tokenizer(tokenizer, folder):
    """Write a tokenizer to a folder as what Transformers' AutoTokenizer.from_pretrained loads: two files of JSON.

    A model without a tokenizer has none to write. Where the eos_token has no name yet, it is the first of the end_ids.
    Raises OSError where a file cannot be written, ValueError for a tokenizer that the format cannot express.
    """
    folder = Path(folder)
    if isinstance(tokenizer, NoTokenizer):
        return
    if isinstance(tokenizer, ByteTokenizer):  # byte-level BPE that has learned nothing
        tokenizer = BPETokenizer([bytes([byte]) for byte in range(256)], [])
    content = to_tokenizer_json(tokenizer)
    texts = {i: text for text, i in content["model"]["vocab"].items()}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    if tokenizer.bos_id is not None:
        config["bos_token"] = texts[tokenizer.bos_id]
    if tokenizer.end_ids:
        config["eos_token"] = texts[tokenizer.end_ids[0]]
    config |= tokenizer.token_names
    if tokenizer.chat_template is not None:
        config["chat_template"] = tokenizer.chat_template
    write_json(folder / TOKENIZER_FILE, content)
    write_json(folder / TOKENIZER_CONFIG_FILE, config)
