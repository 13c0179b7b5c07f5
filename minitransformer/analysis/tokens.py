"""Readable forms of tokens, in which no character is invisible."""


def token_strings(tokenizer, ids) -> list[str]:
    """Return the text of each id: escapes such as \\xe2 for incomplete UTF-8, "<id>" for an id without a token."""

    def string_of(i):
        if i >= tokenizer.vocab_size:
            return f"<{i}>"
        if hasattr(tokenizer, "decode_bytes"):
            return tokenizer.decode_bytes([i]).decode("utf-8", "backslashreplace")
        return tokenizer.decode([i])

    return [string_of(i) for i in ids]


def shown(token: str) -> str:
    """Return a token on one line: "·" for a space, escapes such as \\n, "∅" if empty."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in token)
    return escaped.replace(" ", "·") or "∅"
