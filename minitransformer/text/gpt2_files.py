"""GPT-2's two vocabulary files, and their alphabet for bytes.

`encoder.json` maps tokens to ids, and `vocab.bpe` lists the merges in order, one per line. Both are text files, but
tokens are bytes. Each of the 256 bytes is therefore written as a visible character: the printable bytes of Latin-1 as
themselves, and the other 68, in order, as U+0100 and up. A space is written Ġ (U+0120), a newline Ċ (U+010A).

    vocab.bpe     #version: 0.2        encoder.json     {"!": 0, …, "Ġ": 220, …, "Ġt": 256, …
                  Ġ t                                    "<|endoftext|>": 50256}
                  Ġ a
"""

from minitransformer.system.archive import read_bounded
from minitransformer.system.validation import brief

PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
_OTHERS = sorted(set(range(256)) - set(PRINTABLE))
BYTE_TO_CHARACTER = {byte: chr(byte) for byte in PRINTABLE} | {byte: chr(256 + i) for i, byte in enumerate(_OTHERS)}
CHARACTER_TO_BYTE = {character: byte for byte, character in BYTE_TO_CHARACTER.items()}


def spell(token):
    return "".join(map(BYTE_TO_CHARACTER.__getitem__, token))


def unspell(spelled):
    """Return the bytes of a str in GPT-2's alphabet, or raise ValueError."""
    try:
        return bytes(map(CHARACTER_TO_BYTE.__getitem__, spelled))
    except KeyError as error:
        raise ValueError(f"the token {spelled!r} contains {error.args[0]!r}, which GPT-2's alphabet lacks") from None


def parse_merge(line):
    """Return the pair of bytes on a line of a merges file, or raise ValueError."""
    parts = line.split(" ")
    if len(parts) != 2 or not all(parts):
        raise ValueError(f"expected two tokens with one space between them, found {line!r}")
    left, right = map(unspell, parts)
    return left, right


def in_order_of_id(vocabulary):
    """Sort the tokens of a vocabulary by id. Raises ValueError unless the ids are 0 … V − 1."""
    ids = vocabulary.values()
    if any(type(i) is not int for i in ids) or sorted(ids) != list(range(len(ids))):
        raise ValueError(f"the ids must be the integers 0 to {len(ids) - 1}, each of them once, not {brief(list(ids))}")
    return sorted(vocabulary, key=vocabulary.__getitem__)


def token_bytes(spelled):
    """Return the bytes of a token. A token with characters outside GPT-2's alphabet is encoded as UTF-8."""
    in_alphabet = all(character in CHARACTER_TO_BYTE for character in spelled)
    return unspell(spelled) if in_alphabet else spelled.encode("utf-8")


def read_merges(path):
    """Read the merges of a vocab.bpe as pairs of bytes. Error messages contain the file and the line."""
    lines = read_bounded(path).decode("utf-8", "surrogateescape").replace("\r\n", "\n").removesuffix("\n").split("\n")
    merges = []
    for number, line in enumerate(lines, start=1):
        try:
            if number > 1 or not line.startswith("#version"):
                merges.append(parse_merge(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    return merges
