"""Readable forms of tokens, in which every character is visible."""


def token_strings(tokenizer, ids) -> list[str]:
    """Return the text of each id. Incomplete UTF-8 is escaped, and an id without a text becomes "<id>"."""

    def string_of(i):
        if i >= tokenizer.vocab_size:
            return f"<{i}>"
        if hasattr(tokenizer, "decode_bytes"):
            return tokenizer.decode_bytes([i]).decode("utf-8", "backslashreplace")
        return tokenizer.decode([i])

    return [string_of(i) for i in ids]


def shown(token: str) -> str:
    """Return a token on one line, with every character visible.

    A space is shown as "·", an unprintable character as an escape such as \\n, and an empty token as "∅".
    """
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in token)
    return escaped.replace(" ", "·") or "∅"
