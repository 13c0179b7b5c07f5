"""Damage to files, accidental or deliberate, with one function for each format.

Each takes the bytes of a sound file and random.Random, and returns damaged bytes and a description. All
formats have `bytes_of_any_file` in common, which knows none; the others take a file apart, change something inside, and
put it together so that all around it is sound: the checksums fit, the lengths agree, and the damage reaches the code
that has to refuse it.
"""

import io
import json
import math
import struct
import tempfile
import zipfile

import numpy as np

EVIL = "\x1b]0;owned\x07"  # sets the title of a terminal's window
HUGE = (10**3, 10**6, 3 * 10**7, 10**9, 2**31, 2**63, 10**15, 10**23)

# Bytes, of whatever they are.


def bytes_of_any_file(content: bytes, random):
    """Flip bits, cut, overwrite, insert or remove stretches, once or a few times."""
    done = []
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        change = random.choice(CHANGES)
        near = random.choice((64, 1024, len(content) + 1))  # the beginnings of files are where lengths and names are
        at = random.randrange(min(near, len(content) + 1))
        at = random.choice((at, max(len(content) - at, 0)))
        content = change(content, at, random)
        done.append(f"{change.__name__} at {at}")
    return content, ", ".join(done)


def flipped(content, at, random):
    """One bit is another."""
    at = min(at, max(len(content) - 1, 0))
    return content[:at] + bytes(byte ^ 1 << random.randrange(8) for byte in content[at : at + 1]) + content[at + 1 :]


def truncated(content, at, random):
    """It ends early."""
    return content[:at]


def inserted(content, at, random):
    """Something stands between."""
    return content[:at] + random.choice((random.randbytes(random.randrange(1, 40)), *PIECES)) + content[at:]


def overwritten(content, at, random):
    """Something stands instead."""
    piece = random.choice((random.randbytes(random.randrange(1, 40)), *PIECES))
    return content[:at] + piece + content[at + len(piece) :]


def removed(content, at, random):
    """A stretch is not there."""
    return content[:at] + content[at + random.randrange(1, 200) :]


CHANGES = (flipped, flipped, flipped, truncated, inserted, overwritten, removed)
PIECES = (
    *(b"\x00" * 8, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\n", b"\r\n", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xe2\x80\xa8"),
    *(b"9" * 30, b"-1", b"1e400", b"null", b"[" * 2000, b"{", b'"', b",", EVIL.encode()),
)

# JSON.

ODD_VALUES = (
    *("null", "true", "false", "-1", "0", "1", "2", "0.5", "-0.0", "1e400", "-1e400", "1e308", "NaN", "Infinity"),
    *('""', '" "', '"a"', '"1"', '"null"', json.dumps(EVIL), '"a\\nb"', '"a\\u2028b"', '"\\ud800"', '"\\u202e"'),
    *('"/dev/zero"', '"../../x"', '"%s {0} {x}"', '"' + "A" * 10**6 + '"'),
    *("[]", "{}", "[[]]", "[null]", '["a"]', "[0]", "[-1, 1e400]", '{"a": 3}', '{"": null}', '{"kind": []}'),
    *("[" * 100_000 + "]" * 100_000, '{"a":' * 3000 + "1" + "}" * 3000, "[" + "0," * 10**5 + "0]"),
    *("1" + "0" * 400, "-1" + "0" * 400, "9" * 5000, *map(str, HUGE), *(f"-{huge}" for huge in HUGE[:3])),
)
NAMING_FILES = ("text", "data", "general", "model", "held_out")
ODD_PATHS = (
    *('"/dev/zero"', '["/dev/zero"]', '["/dev/null"]', '["missing"]', '[".."]', '["-"]', '[""]', '["a\\u0000b"]'),
    *(json.dumps([EVIL]), '["\\ud800"]', '["/proc/self/mem"]', '[["book.txt"]]', '["book.txt", 3]'),
)
ODD_KEYS = ("", " ", "a", "kind", "type", "__class__", "self", EVIL, "a\nb", "\u202e", "\ud800", "k" * 10**5)


def json_file(content: bytes, random):
    """Change one value or key at a random place of a JSON text."""
    text, about = changed_json(json.loads(content), random)
    return text.encode("utf-8", "surrogatepass"), about


def changed_json(content, random, along=()):
    """Return the text of a JSON value with one change within the part `along` a path, and its description."""
    parent, key, where = somewhere(content, random, along)
    if parent is None:
        raw = random.choice(ODD_VALUES)
        return raw, f"all is {raw[:40]}"
    value = parent[key]
    how = random.random()
    if how < 0.6:
        raw = random.choice(ODD_PATHS if key in NAMING_FILES and random.random() < 0.5 else ODD_VALUES)
        return dumps(content, parent, key, raw), f"{where} is {raw[:40]}"
    if how < 0.7:
        raw = near(value, random)
        return dumps(content, parent, key, raw), f"{where} is {raw[:40]}, no more {json.dumps(value)[:40]}"
    if how < 0.8:
        del parent[key]
        return json.dumps(content), f"{where} is not there"
    if how < 0.9 and isinstance(parent, dict):
        raw = f"{json.dumps(value)}, {json.dumps(key)}: {random.choice(ODD_VALUES)}"
        return dumps(content, parent, key, raw), f"{where} is there twice: {raw[-40:]}"
    if isinstance(parent, dict):
        name = random.choice(ODD_KEYS)
        parent[name] = parent[key] if random.random() < 0.5 else parent.pop(key)
        return json.dumps(content), f"{where} is called {name[:20]!r}"
    parent[key:key] = [value] * random.choice((1, 1000))
    return json.dumps(content), f"{where} is there more than once"


def somewhere(content, random, along=()):
    """Return (parent, key, path in words) of a random place; larger parts are drawn somewhat more often."""
    parent, key, where, along = None, None, "", list(along)
    while isinstance(content, (dict, list)) and content:
        if not along and random.random() > (0.98 if parent is None else 0.85):
            break
        keys = list(content) if isinstance(content, dict) else list(range(len(content)))
        weights = [math.log2(2 + size_of(content[key])) for key in keys]
        parent, key = content, along.pop(0) if along else random.choices(keys, weights)[0]
        where += f".{key[:30]}" if isinstance(key, str) else f"[{key}]"
        content = parent[key]
    return parent, key, where.removeprefix(".")


def size_of(content) -> int:
    """Return how many values there are in a JSON value."""
    children = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return 1 + sum(map(size_of, children))


def dumps(content, parent, key, raw: str) -> str:
    """Return the JSON text of a value that has `raw`, which may be no JSON at all, at one place."""
    parent[key] = "\ue000"
    return json.dumps(content).replace(json.dumps("\ue000"), raw, 1)


def near(value, random) -> str:
    """Return a slightly different value as JSON."""
    if isinstance(value, bool) or value is None:
        return json.dumps(not value)
    if isinstance(value, (int, float)):
        return json.dumps(random.choice((value + 1, value - 1, -value, 2 * value, value / 2, value * 10**6, [value])))
    if isinstance(value, str):
        return json.dumps(random.choice((value + " ", value[1:], value.upper(), value * 2, [value], EVIL + value)))
    return json.dumps(random.choice((list(value)[::-1], list(value), str(value))))


# Lines, of JSON or of anything.

ODD_LINES = (
    *(b"", b" ", b"\x00", b"null", b"[]", b"{}", b"3", b'"a"', b"NaN", b"{", b"\xff\xfe", b"\xef\xbb\xbf{}"),
    *(b"[" * 10**5, b"A" * 10**6, b"9" * 5000, EVIL.encode(), b"a b", b"a b c", "Ġ Ġ".encode(), b"\xc4"),
)


def lines(content: bytes, random):
    """Change, delete or repeat one line, or insert an odd one after it."""
    every = content.split(b"\n")
    at = random.randrange(max(len(every) - 1, 1))
    how = random.random()
    if how < 0.5 and every[at].startswith(b"{"):
        every[at], about = json_file(every[at], random)
        return b"\n".join(every), f"line {at + 1}: {about}"
    odd = random.choice(ODD_LINES)
    new, about = random.choice(
        [
            ([], "is not there"),
            ([every[at]] * 2, "is there twice"),
            ([odd, every[at]], f"has {odd[:20]!r} before it"),
            ([odd], f"is {odd[:20]!r}"),
            ([every[at][: len(every[at]) // 2]], "ends half way"),
            ([every[at], *every[at + 1 :: -1]], "is followed by those before it"),
        ]
    )
    return b"\n".join([*every[:at], *new, *every[at + 1 :]]), f"line {at + 1} {about}"


# NumPy archives, whose headers and members test_archive.py damages one by one.

ODD_SHAPES = (
    *("()", "(0,)", "(1,)", "(-1,)", "(2.0,)", "(True,)", "('a',)", "None", "3", "[3]", "(3", "(((", "(0, 10**15)"),
    *(f"({huge},)" for huge in HUGE),
    *(f"(0, {huge})" for huge in HUGE),
    *(f"({huge}, {huge})" for huge in HUGE),
    *("(" + "1, " * 40 + ")", "(" * 500 + ")" * 500, "(" + "9" * 5000 + ",)", "(1,) * 9", "f(1)", "{}"),
)
ODD_DTYPES = (
    *("'|O'", "'<f8'", "'<f4'", "'>f4'", "'<f2'", "'<i4'", "'|u1'", "'|b1'", "'<c8'", "'<U9'", "'|S3'", "'|V8'"),
    *("'<M8'", "'<f9'", "''", "'x'", "None", "3", "[]", "'<f4", "'<U1000000000'", "(1, 2)", "{'names': 3}", repr(EVIL)),
    *("[('a', '<f4')]", "[('a', '<f4', (10**9,))]", "[('\\x1b', '<f4')]"),
)


def npz(content: bytes, random):
    """Change the description of an archive of arrays, or the header of one array."""
    return random.choice((other_description, other_header))(members_of(content), random)


def members_of(content: bytes) -> list:
    """Return the members of a zip archive, each its name and its bytes."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def training_state(content: bytes, random):
    """Change one field of a run in its checkpoint, each field with the same probability."""
    members = members_of(content)
    description = json.loads(parts_of_npy(dict(members)["description.npy"])[1])
    return other_description(members, random, ("training", random.choice(list(description["training"]))))


def other_description(members, random, along=()):
    """The description, JSON in an array of bytes, is changed as JSON."""
    at = [name for name, _ in members].index("description.npy")
    text, about = changed_json(json.loads(parts_of_npy(members[at][1])[1]), random, along)
    data = text.encode("utf-8", "surrogatepass")
    members[at] = "description.npy", npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({len(data)},), }}", data)
    return zipped(members), f"description: {about}"


def other_header(members, random):
    """The header of an array says something else."""
    at = random.randrange(len(members))
    name, (header, data) = members[at][0], parts_of_npy(members[at][1])
    shape = header[header.index("(") : header.index(")") + 1]
    descr = header.split("'descr': ")[1].split(", 'fortran")[0]
    odd_shape, odd_descr = random.choice(ODD_SHAPES), random.choice(ODD_DTYPES)
    header, about = random.choice(
        [
            (header.replace(shape, odd_shape), f"shape {odd_shape[:30]}"),
            (header.replace(shape, odd_shape), f"shape {odd_shape[:30]}"),
            (header.replace(descr, odd_descr), f"dtype {odd_descr}"),
            (header.replace("False", random.choice(("True", "3", "None"))), "another order"),
            (header.replace("fortran_order", "order"), "no fortran_order"),
            (random.choice(("", "{", "{}", "[1]", "(", "a" * 10**6, "{'a': " * 200, "\x00", EVIL)), "an odd header"),
        ]
    )
    members[at] = name, npy(header, data, version=random.choice(((1, 0), (1, 0), (1, 0), (2, 0), (3, 0), (9, 9))))
    return zipped(members), f"{name}: {about}"


def npy(header: str, data: bytes, version=(1, 0)) -> bytes:
    """Return a .npy file with this header, whatever it says."""
    text = header.encode("latin-1", "replace")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    length = struct.pack("<H", len(text) & 0xFFFF) if version == (1, 0) else struct.pack("<L", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


def parts_of_npy(content: bytes):
    """Return the header and the data of a .npy file of the first version."""
    end = 10 + struct.unpack("<H", content[8:10])[0]
    return content[10:end].decode("latin-1").strip(), content[end:]


def zipped(members) -> bytes:
    """Return a zip archive of (name, bytes)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


# Safetensors: eight bytes with the header's length, the header in JSON, the numbers.


def safetensors(content: bytes, random):
    """Change one thing in the header, or its length."""
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length], content[8 + length :]
    if random.random() < 0.15:
        length = random.choice((0, 1, 2**31, 2**63, 2**64 - 1, length - 1, length + 1))
        return length.to_bytes(8, "little") + header + data, f"a header of {length} bytes"
    header, about = json_file(header, random)
    return len(header).to_bytes(8, "little") + header + data, about


# GGUF: metadata and tensors, each with a name, numbers and texts whose places the library knows.


def gguf(content: bytes, random):
    """Overwrite one number or text of the metadata or of a tensor's description."""
    from gguf import GGUFReader

    with tempfile.NamedTemporaryFile() as file:  # the library reads nothing else
        file.write(content)
        file.flush()
        reader = GGUFReader(file.name)
    field = random.choice([*reader.fields.values(), *(tensor.field for tensor in reader.tensors)])
    start = reader.data.__array_interface__["data"][0]
    parts = [part for part in field.parts if isinstance(part, np.ndarray) and part.nbytes]
    part = random.choice(parts[-200:])
    at = part.__array_interface__["data"][0] - start
    if part.dtype.itemsize == 1:
        odd = random.choice((EVIL.encode(), b"\xff", b"\x00", b"\n", b"x")) * part.nbytes
    else:
        number = random.choice((0, 1, 2, 3, 7, 8, 9, 255, 2**16, *HUGE[:6], 2**64 - 1, -1))
        odd = (number % 256**part.dtype.itemsize).to_bytes(part.dtype.itemsize, "little") * part.size
    odd = odd[: part.nbytes]
    return content[:at] + odd + content[at + part.nbytes :], f"{field.name} at {at} is {odd[:20]!r}"


# Chat templates.

BOMBS = (
    *("{{ ('a' * N)|length }}", "{{ 'a' * N }}", "{{ ([0] * N)|length }}", "{{ 10 ** N }}", "{{ (10 ** N) % 7 }}"),
    *("{{ '%Nd' % 1 }}", "{{ '%.Nf' % 1 }}", "{{ '{:Nd}'.format(1) }}", "{{ '{:{}}'.format(1, N) }}"),
    *("{{ 'a'|center(N) }}", "{{ 'a'.ljust(N)|length }}", "{{ 'a'.zfill(N)|length }}", "{{ '\t'.expandtabs(N) }}"),
    *("{{ 'a\nb'|indent(N) }}", "{{ messages|tojson(indent=N) }}", "{{ 'ab'|replace('a', 'b' * N) }}"),
    *("{{ range(N)|list|length }}", "{{ range(N)|sum }}", "{% for i in range(N) %}{{ i }}{% endfor %}"),
    "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(N) %}{% endfor %}{% endfor %}{% endfor %}",
    "{% set n = namespace(x='a') %}{% for i in range(N) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x|length }}",
    "{% set n = namespace(x=[0]) %}{% for i in range(N) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x|length }}",
    "{% set n = namespace(x=9) %}{% for i in range(N) %}{% set n.x = n.x * n.x %}{% endfor %}",
    *("{{ lipsum(N) }}", "{{ [1]|batch(N, 0)|list|length }}", "{{ [1]|slice(N)|list|length }}"),
    *("{{ ('a ' * N)|wordwrap(3)|length }}", "{{ 'a'.join(['b'] * N)|length }}", "{{ (['b'] * N)|join|length }}"),
    *("{{ strftime_now('%Nd')|length }}", "{{ strftime_now('%Y' * N)|length }}", "{{ strftime_now('\ud800') }}"),
    "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(N) }}",
    "{% set x = 'a' * N %}{% for m in range(N) %}{{ x }}{% endfor %}",
    *("{{ ('a' * N)|upper|lower|length }}", "{{ 'a'|list * N }}", "{{ cycler('a' * N) }}", "{{ ('(' * N)|urlize }}"),
    *("{{ raise_exception('') }}", "{{ raise_exception('a\nb') }}", "{{ raise_exception('x' * N) }}"),
    *("{{ raise_exception(messages) }}", "{{ raise_exception() }}", f"{{{{ raise_exception('{EVIL}') }}}}", EVIL),
    *("{{ nothing.at.all }}", "{{ 1 / 0 }}", "{{ messages[N] }}", "{{ ''.__class__ }}", "{% bad", "{{", "{{ N.x.y }}"),
    *("{% include 'x' %}", "{% import 'os' as os %}", "{{ 'a'|nothing }}", f"{{{{ '{EVIL}'|attr('{EVIL}')() }}}}"),
    *("{{ messages|map(attribute='content')|join(N) }}", "{{ N|string|length }}", "{{ N|filesizeformat }}"),
    *("(" * 3000, "{{ " + "(" * 3000 + ")" * 3000 + " }}", "{% if x %}" * 500, "{{ " + "-" * 5000 + "1 }}"),
)


def template(content: bytes, random):
    """A template that takes much memory or time, fails in some odd way, or is a sound one with such a part in it."""
    bomb = random.choice(BOMBS).replace("N", str(random.choice(HUGE)))
    if random.random() < 0.5:
        return bomb.encode("utf-8", "surrogatepass"), bomb[:200]
    at = random.choice([i for i in range(len(content) + 1) if content[i : i + 2] in (b"{%", b"{{", b"")])
    return content[:at] + bomb.encode("utf-8", "surrogatepass") + content[at:], f"at {at} {bomb[:200]}"
