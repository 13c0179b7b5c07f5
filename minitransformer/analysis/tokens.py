"""Readable forms of tokens, in which no character is invisible."""


def token_strings(tokenizer, ids) -> list[str]:
    """Return the text of each id; incomplete UTF-8 becomes escapes such as \\xe2."""
    bytes_of = getattr(tokenizer, "decode_bytes", None)
    if bytes_of is None:
        return [tokenizer.decode([i]) for i in ids]
    return [bytes_of([i]).decode("utf-8", "backslashreplace") for i in ids]


def shown(token: str) -> str:
    """Return a token on one line: "·" for a space, escapes such as \\n, "∅" if empty."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in token)
    return escaped.replace(" ", "·") or "∅"
