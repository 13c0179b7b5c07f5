"""Submissions as a class hands them in, and worse: for each its name, how to write it, and the row that it must get.

A row is SOLVED, ANY, or a pattern that the reason or the mistake must match, of an exercise that is not solved.
"""

import io
import json
import os
import socket
import textwrap
import zipfile

from solutions import blank_filled, solution

from minitransformer.learn.cutting import cut
from minitransformer.learn.exercises import named_exercise

SOFTMAX = named_exercise("softmax")
RIGHT = solution(SOFTMAX, 1)
SOLVED, ANY = "solved", "."
BACKWARD = "return y * (dy - (y * dy).sum(axis=axis, keepdims=True))"
NAMES = """softmax.py, Softmax.py, SOFTMAX.PY, softmax (1).py, softmax(2).py, softmax-1.py, softmax_3.py, softmax.py.txt
softmax copy.py, Copy of softmax.py, softmax – Kopie.py, softmax final.py, SoftMax.py, soft_max.py, 01-softmax.py
ada_1815_90210_softmax.py, softmax_ada.py, work/softmax.py, a/b/softmax.py, a/b/c/d/softmax.py, learn/softmax.py
Ada_41_assignsubmission_file_/work/softmax (1).py, 提出/softmax.py, with space/softmax.py"""
NAMES = [name.strip() for line in NAMES.split("\n") for name in line.split(", ")]
STUDENTS = ["=1+1", "+49 30", "-rf", "@home", "  =x", "名前", "a,b", 'quo"te', "it's", "new\nline", "\x1b[31mred"]
STUDENTS += ["..dots", "trailing ", "\u202eright", "n" * 255, os.fsdecode(b"latin-\xe9"), "%s %d", "{0}", "$HOME", "*"]


LINK = object()  # content of a symbolic link


def zip_of(members) -> bytes:
    """Return a zip file with the members {path: content}, where LINK is the content of a symbolic link."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in members.items():
            info = zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o120777 if content is LINK else 0o100644) << 16
            archive.writestr(info, "/etc/passwd" if content is LINK else content)
    return file.getvalue()


def damaged(archive: bytes) -> bytes:
    return archive[:60] + bytes([archive[60] ^ 255]) + archive[61:]


def encrypted(archive: bytes) -> bytes:
    """Set the flag of an encrypted member in both of its headers."""
    at = archive.index(b"PK\x01\x02")
    return archive[:6] + b"\x01" + archive[7 : at + 8] + b"\x01" + archive[at + 9 :]


def to_every_descriptor(content):
    return f"import os\nfor k in range(256):\n  try: os.write(k, {content})\n  except OSError: pass\nraise ValueError"


# Code that is put at the top of the file, into forward, or into backward.
HARMFUL = {
    "exit": "import sys; sys.exit(3)",
    "exit at once": "import os; os._exit(0)",
    "crash": "import ctypes; ctypes.string_at(0)",
    "kill": "import os; os.kill(os.getpid(), 9)",
    "kill the parent": "import os; os.kill(os.getppid(), 9)\nraise ValueError",
    "interrupt": "raise KeyboardInterrupt",
    "memory": "x = bytearray(10**13)",
    "recursion": "f = lambda f: f(f); f(f)",
    "long message": "raise ValueError('x' * 10**6)",
    "lines in a message": "raise ValueError('a\\nb,\"c\"\\x1b[2J\\x00')",
    "formula in a message": "raise ValueError('=cmd|0')",
    "broken message": "raise type('E', (Exception,), {'__str__': lambda self: 1 / 0})()",
    "input": "input()",
    "every descriptor": to_every_descriptor("b'garbage\\n' * 99"),
    "JSON to every descriptor": to_every_descriptor("""b'{"status": "solved"}\\n'"""),
    "folder removed": "import os, shutil; shutil.rmtree(os.path.dirname(__file__))\nraise ValueError",
    "closes descriptors": "import os; os.closerange(0, 256)",
    "deep folders": "import os\nfor k in range(1500): os.mkdir('d'); os.chdir('d')\nraise ValueError",
    "no json": "import json; json.dumps = json.loads = None\nraise ValueError",
    "no open": "import builtins; builtins.open = None\nraise ValueError",
    "no numpy": "import numpy; numpy.exp = None\nraise ValueError",
}
SLOW = {
    "loop": "while True: pass",
    "sleep": "import time; time.sleep(9999)",
    "stop": "import os; os.kill(os.getpid(), 19)",
}
# Processes that a submission leaves behind; each starts a limited number of them.
WAITS = "time.sleep(9999)"
ESCAPES = {
    "child with a session": f"import os, time\nif os.fork() == 0: os.setsid(); {WAITS}\nraise ValueError",
    "grandchild with a session": "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: "
    f"{WAITS}\n  os._exit(0)\nraise ValueError",
    "program": "import subprocess; subprocess.Popen(['sleep', '9999'], start_new_session=True)\nraise ValueError",
    "forty children": f"import os, time\nfor k in range(40):\n  if os.fork() == 0: {WAITS}\n{WAITS}",
    "child that ignores signals": "import os, signal, time\nif os.fork() == 0:\n  for k in range(1, 32):\n"
    f"    try: signal.signal(k, signal.SIG_IGN)\n    except OSError: pass\n  {WAITS}\nraise ValueError",
    "pool": "from multiprocessing import get_context\nget_context('fork').Pool(3).map(print, [1])\nraise ValueError",
}
GRADIENTS = "None, [1], 'x', dy.tolist(), (dy,), (dy, dy), object(), np.nan * dy, 1j * dy, dy[..., :1], dy.T, 0, dy"
GRADIENTS += ", lambda: 0, np.array(None), np.array('x'), np.ma.array(dy), dy.tobytes(), {'dx': dy}, type"
TEXTS = {
    "empty file": b"",
    "UTF-16": RIGHT.encode("utf-16"),
    "Latin-1": "# é\n".encode("latin-1") + RIGHT.encode(),
    "brackets": b"[" * 200_000,
    "minus signs": b"x = " + b"-" * 500_000 + b"1\n",
    "indents": b"".join(b" " * k + b"if 1:\n" for k in range(900)),
    "long number": b"x = " + b"9" * 500_000,
    "another function": RIGHT.replace("def softmax", "def my_softmax").encode(),
}


def put(folder, file, content=RIGHT):
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def writes(file, content=RIGHT, *more):
    """Return a function that writes a file in a folder, and then more."""

    def write(folder):
        put(folder, file, content)
        for add in more:
            add(folder)

    return write


def notebook(*cells, **changes):
    made = [{"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": c} for c in cells]
    words = {"cell_type": "markdown", "metadata": {}, "source": "# def softmax"}
    return json.dumps({"cells": [words, *made], "metadata": {}, "nbformat": 4, "nbformat_minor": 5} | changes)


def with_code(code, where):
    """Return a solution with code at the top of the file, in forward or in backward."""
    if where == "top":
        return RIGHT.replace("import numpy as np", f"import numpy as np\n\n{code}\n", 1)
    body = f"{textwrap.indent(code, ' ' * 8)}\n        {BACKWARD}"
    if where == "backward":
        return blank_filled(cut(SOFTMAX, 1), body)
    return f"import numpy as np\n\ndef softmax(x, *, axis=-1):\n{textwrap.indent(code, '    ')}\n    return x, None\n"


def fifo(file):
    return lambda folder: os.mkfifo(folder / file)


def zipped(name, members):
    return writes(name, zip_of(members))


def link(file, target):
    return lambda folder: os.symlink(target, folder / file)


def bound_socket(folder):
    here = os.open(".", os.O_RDONLY)
    os.chdir(folder)  # as the path of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("softmax.py")
    finally:
        os.fchdir(here)


def large(file, size):
    return lambda folder: os.truncate(put(folder, file, b""), size)


def dated(file, content, seconds):
    return lambda folder: os.utime(put(folder, file, content), (seconds, seconds))


def many(pattern, number):
    def write(folder):
        for k in range(number):
            put(folder, pattern.format(k), b"")

    return write


WRONG = RIGHT.replace("dy - weighted_sum", "dy")
BLANK = cut(SOFTMAX, 1)
CODE = RIGHT.partition('"""\n')[2]  # without its header
BESIDE = {
    "a pipe for hints": fifo(".hints.json"),
    "brackets for an exercise": writes("x.exercise", "[" * 200_000),
    "a link to itself": link("again", "."),
    "brackets for hints": writes(".hints.json", "[" * 200_000),
    "a pipe for a module": fifo("numpy.py"),
    "a module named numpy": writes("numpy.py", "raise ValueError"),
    "a name that is not UTF-8": writes(os.fsdecode(b"\xff\xfe.py"), "1 +"),
    "a link to everything": link("all", "/"),
    "a repository": writes(".git/softmax.py", WRONG),
    "an environment": writes("venv/lib/python3.11/site-packages/softmax.py", WRONG),
    "a checkpoint": writes(".ipynb_checkpoints/softmax-checkpoint.ipynb", "{"),
    "its test": writes("test_softmax.py", "import softmax\nraise ValueError"),
    "a blank one, newer": dated("softmax (1).py", BLANK, 4e9),
    "a wrong one, older": dated("softmax (1).py", WRONG, 1e8),
    "a large one": large("softmax (1).py", 100_000_000),
}


def odd_submissions() -> dict:
    """Return {student: (a function that fills the folder, the row)}."""
    found = {}
    for k, name in enumerate(NAMES):
        found[f"name {k}"] = writes(name), SOLVED
    for student in STUDENTS:
        found[student] = writes("softmax.py"), SOLVED
    for words, beside in BESIDE.items():
        found[f"beside: {words}"] = writes("softmax.py", RIGHT, beside), SOLVED
    for words, code in HARMFUL.items():
        for where in ("top", "forward", "backward"):
            found[f"{words} in {where}"] = writes("softmax.py", with_code(code, where)), ANY
    for words, code in ESCAPES.items():
        for where in ("top", "backward"):
            found[f"{words} in {where}"] = writes("softmax.py", with_code(code, where)), ANY
    for words, code in SLOW.items():
        found[words] = writes("softmax.py", with_code(code, "backward")), "did not end"
    for k, gradient in enumerate(GRADIENTS.split(", ")):
        text = blank_filled(BLANK, f"        return {gradient}")
        found[f"gradient {k}"] = writes("softmax.py", text), ANY
    for words, content in TEXTS.items():
        found[words] = writes("softmax.py", content), ANY
    found |= {
        "nothing": (lambda folder: None, "the folder contains no file"),
        "a letter": (writes("letter.txt", "sorry"), "no exercise among the files letter.txt"),
        "a zip file": (zipped("Hausübung 1.zip", {"Ada\\softmax.py": RIGHT, "../": ""}), SOLVED),
        "a zip file in a zip file": (zipped("a.zip", {"b.ZIP": zip_of({"x/softmax (1).py": RIGHT})}), SOLVED),
        "a zip file of everything": (
            zipped(
                "a.zip", {".venv/bin/python": LINK, "../x.txt": "x", "0.bin": bytes(3_000_000), "softmax.py": RIGHT}
            ),
            "contains the path '../x.txt', which is outside of the folder",
        ),
        "a zip file with a link": (
            zipped("a.zip", {"softmax.py": LINK}),
            "a.zip contains the symbolic link 'softmax.py'",
        ),
        "a zip file with an absolute path": (
            zipped("a.zip", {"/tmp/softmax.py": RIGHT}),
            "'/tmp/softmax.py', which is out",
        ),
        "a zip file with a drive": (zipped("a.zip", {"C:\\softmax.py": RIGHT}), "which is outside of the folder"),
        "a zip file with a bomb": (
            zipped("a.zip", {f"{k}.ipynb": bytes(30_000_000) for k in range(4)}),
            "100,000,000 by",
        ),
        "a zip file of many files": (
            zipped("a.zip", {f"{k}.py": "" for k in range(401)}),
            "more than 400 Python files",
        ),
        "a zip file without end": (writes("softmax.zip", b"PK"), "softmax.zip is not a readable zip file"),
        "a zip file with an odd byte": (
            writes("a.zip", damaged(zip_of({"softmax.py": RIGHT}))),
            "not a readable zip file",
        ),
        "a zip file with a folder for a file": (zipped("a.zip", {"a.py/b.py": "", "a.py": ""}), "cannot be unpacked"),
        "an encrypted zip file": (writes("a.zip", encrypted(zip_of({"softmax.py": RIGHT}))), "a.zip is encrypted"),
        "many zip files": (many("{}.zip", 30), "the folder contains more than 20 zip files"),
        "a link to a neighbour": (link("softmax.py", "../name 0/softmax.py"), "is a symbolic link"),
        "a pipe": (fifo("softmax.py"), "softmax.py is a named pipe, not a regular file"),
        "a socket": (bound_socket, "softmax.py is a socket, not a regular file"),
        "a folder for a file": (writes("softmax.py/README", "x"), "softmax.py is a folder, not a regular file"),
        "a file in a folder named as a file": (writes("softmax.py/softmax.py"), SOLVED),
        "a link to zeros": (link("softmax.py", "/dev/zero"), "is a symbolic link"),
        "100 MB": (large("softmax.py", 100_000_000), "has 100,000,000 bytes"),
        "a line of 5 MB": (writes("softmax.py", "x = '" + "x" * 5_000_000), r"has 5,000,00\d bytes"),
        "many Python files": (many("{}.py", 401), "more than 400 Python files"),
        "many other files": (many("{}.txt", 2500), r"among the files 0.txt, 1.txt, 10.txt and 2,497 more"),
        "a byte order mark": (writes("softmax.py", b"\xef\xbb\xbf" + RIGHT.encode()), SOLVED),
        "carriage returns": (writes("softmax.py", RIGHT.replace("\n", "\r\n")), SOLVED),
        "a copy of the process": (writes("softmax.py", with_code("import os; os.fork()", "top")), SOLVED),
        "a module": (writes("softmax.py", RIGHT + "\nimport helper\n", writes("helper.py", "x = 1")), SOLVED),
        "the newest": (writes("softmax.py", WRONG, dated("softmax-1.py", RIGHT, 4e9)), SOLVED),
        "notebook": (writes("homework.ipynb", notebook(CODE)), SOLVED),
        "notebook with a header": (writes("softmax.ipynb", notebook(RIGHT)), SOLVED),
        "notebook, second try": (writes("a.ipynb", notebook(CODE.replace("dy - weighted_sum", "dy"), CODE)), SOLVED),
        "notebook that is none": (writes("softmax.ipynb", "{}"), "is not a notebook"),
        "notebook with magic": (
            writes("a.ipynb", notebook("%matplotlib inline\n!pip install x\nnp?", "%%time\n" + CODE, "softmax??")),
            SOLVED,
        ),
        "notebook that checks": (
            writes(
                "a.ipynb", notebook("from minitransformer.learn import check", CODE + "\nx = 1 / 0", "check('softmax')")
            ),
            SOLVED,
        ),
        "notebook with all of NumPy": (
            writes("a.ipynb", notebook("from numpy import *\nimport numpy as np", CODE.replace("np.exp(", "exp("))),
            SOLVED,
        ),
        "notebook with a broken cell": (writes("a.ipynb", notebook("def softmax(:", CODE, "1 +")), SOLVED),
        "notebook beside a blank file": (writes("softmax.py", BLANK, writes("a.ipynb", notebook(CODE))), SOLVED),
        "empty notebook": (writes("softmax.ipynb", notebook()), "softmax.ipynb has no cell that defines softmax"),
        "notebook before version 4": (writes("softmax.ipynb", '{"worksheets": []}'), "is not a notebook: KeyError"),
        "notebook with deep code": (writes("softmax.ipynb", notebook("x = " + "-" * 9999 + "1")), "has no cell"),
        "notebook of 100 MB": (large("softmax.ipynb", 100_000_000), "has 100,000,000 bytes"),
    }
    return found
