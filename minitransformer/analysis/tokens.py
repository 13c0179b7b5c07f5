"""Tokens as text for people: what each stands for, and how to show it so that nothing is invisible."""


def token_strings(tokenizer, ids) -> list[str]:
    """Return what each id stands for by itself. Of a token that holds only some bytes of a character, as \\xe2."""
    bytes_of = getattr(tokenizer, "decode_bytes", None)
    if bytes_of is None:
        return [tokenizer.decode([i]) for i in ids]
    return [bytes_of([i]).decode("utf-8", "backslashreplace") for i in ids]


def shown(token: str) -> str:
    """Return a token as one line shows it: a space as ·, what cannot be printed as its escape, such as \\n."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in token)
    return escaped.replace(" ", "·") or "∅"
