"""The server of the workbench: what it answers to its own page, and what it refuses to everybody else."""

import base64
import contextlib
import hashlib
import http.client
import json
import re
import signal
import stat
import subprocess
import sys
import threading
import webbrowser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest

from minitransformer.learn import workspace
from minitransformer.learn.cutting import cut
from minitransformer.learn.exercises import exercise_set, named_exercise
from minitransformer.learn.grading_client import Grader
from minitransformer.learn.planting import with_bug
from minitransformer.learn.verdict import SOLVED, WRONG_LINE, Row, Verdict
from minitransformer.learn.workbench import serving
from minitransformer.learn.workbench.actions import Actions
from minitransformer.learn.workbench.book import Book
from minitransformer.learn.workbench.serving import MOST_BYTES, SECRET, Server, opened_in_browser
from minitransformer.learn.workbench.task import task_of

RIGHT = Verdict("relu", SOLVED, 0, rows=(Row("(2)", "dx", "right"),))


class Known:
    """Checks without a process: every file is right."""

    def request(self, name):
        return 7

    def wait(self, number, parts, seconds):
        return (RIGHT, True) if number == 7 else (None, True)

    def of(self, name):
        return RIGHT

    def planted(self, exercise, level, seed):
        with Grader() as grader:
            return with_bug(exercise, level, seed, grader)


@contextlib.contextmanager
def serving_in(folder):
    workspace.start(folder / "learn", exercise_set("activations"), 0)
    book = Book(folder / "book")
    with Server(Actions(folder / "learn", Known(), book), book) as made:
        thread = threading.Thread(target=made.serve_until_idle, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def server(tmp_path):
    with serving_in(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def refusing(tmp_path_factory):
    """A server for requests that change nothing, and its folder: each server takes a tenth of a second to end."""
    folder = tmp_path_factory.mktemp("refusing")
    with serving_in(folder) as made:
        yield made, folder / "learn"


def asked(server, path, body=None, *, method="POST", **changed):
    """Send a request as the page does, except for the `changed` headers (None: without it). Return status, answer."""
    content = json.dumps(body).encode() if not isinstance(body, bytes) else body
    host = f"127.0.0.1:{server.server_port}"
    headers = {"Host": host, "Content-Type": "application/json", "Content-Length": str(len(content))}
    headers |= {SECRET: server.secret, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(content if method == "POST" else None)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    kind = answer.getheader("Content-Type") or ""
    return answer.status, json.loads(content) if kind == "application/json" else content.decode()


def test_the_page_opens_edits_and_checks_an_exercise(server, tmp_path):
    status, found = asked(server, "/do/exercises", {})
    assert status == 200 and found["exercises"][0] == {"name": "relu", "title": "the slope is 1 or 0"}
    assert "layer_norm" not in str(found["exercises"])
    assert "<relu>" in found["map"] and found["map"].startswith("the text ")
    status, found = asked(server, "/do/open", {"name": "relu"})
    assert status == 200 and found["level"] == 0 and "dx = ..." in found["text"] and "<math" in found["task"]
    assert "upstream gradient" in found["task"] and "Return " in found["task"]
    text = found["text"].replace("dx = ...", "dx = dy * (x > 0)")
    status, _ = asked(server, "/do/save", {"name": "relu", "text": text, "digest": found["digest"]})
    assert status == 200 and (tmp_path / "learn" / "relu.py").read_text("utf-8") == text
    assert asked(server, "/do/check", {"name": "relu"}) == (200, {"number": 7})
    status, verdict = asked(server, "/do/verdict", {"number": 7, "parts": 0})
    line = 1 + text.split("\n").index(next(line for line in text.split("\n") if "dx = dy" in line))
    assert status == 200 and verdict["is_solved"] and [row["line"] for row in verdict["rows"]] == [line]
    assert asked(server, "/do/verdict", {"number": 6, "parts": 0}) == (200, {"state": "cancelled"})
    assert asked(server, "/do/status", {"name": "relu"}) == (200, {"status": SOLVED})
    assert asked(server, "/do/status", {"name": "silu"}) == (200, {"status": "not begun"})
    assert asked(server, "/do/open", {"name": "softmax"})[0] == 400  # it is not in the folder
    assert asked(server, "/do/hint", {"name": "relu"}) == (200, {"hint": "there is no mistake", "about": ""})


def test_the_command_prints_a_link_that_answers_until_ctrl_c(tmp_path):
    command = [sys.executable, "-m", "minitransformer", "learn", "open", "--no-browser"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        link = urlsplit(line.split()[-1])
        status, found = asked(SimpleNamespace(server_port=link.port, secret=link.fragment), "/do/exercises", {})
        process.send_signal(signal.SIGINT)
    assert line.startswith("the workbench: http://127.0.0.1:") and process.returncode == 130
    assert status == 200 and found["exercises"][0]["name"] == "expression"
    assert (tmp_path / "learn" / "expression.py").exists()


def test_a_folder_without_a_book_is_refused(tmp_path):
    command = [sys.executable, "-m", "minitransformer", "learn", "open", "--no-browser", "--book", "nothing"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "nothing: contains no book; write one with: minitransformer book" in done.stderr


def test_a_change_outside_of_the_page_is_offered_and_not_overwritten(server, tmp_path):
    _, found = asked(server, "/do/open", {"name": "relu"})
    path = tmp_path / "learn" / "relu.py"
    path.write_text(found["text"] + "# from an editor\n", "utf-8")
    edited = {"name": "relu", "text": found["text"] + "# from the page\n", "digest": found["digest"]}
    status, answer = asked(server, "/do/save", edited)
    assert status == 409 and answer["text"].endswith("# from an editor\n")
    assert path.read_text("utf-8").endswith("# from an editor\n")
    _, found = asked(server, "/do/open", {"name": "relu"})
    status, _ = asked(server, "/do/save", edited | {"digest": found["digest"]})
    assert status == 200 and path.read_text("utf-8").endswith("# from the page\n")


def test_an_exercise_that_begins_anew_keeps_its_text_beside_it(server, tmp_path):
    _, found = asked(server, "/do/open", {"name": "relu"})
    mine = found["text"].replace("dx = ...", "dx = 7")
    _, saved = asked(server, "/do/save", {"name": "relu", "text": mine, "digest": found["digest"]})
    status, anew = asked(server, "/do/reset", {"name": "relu", "level": 3, "digest": saved["digest"]})
    assert status == 200 and anew["level"] == 3 and "dx = 7" not in anew["text"]
    assert (tmp_path / "learn" / anew["kept"]).read_text("utf-8") == mine
    assert asked(server, "/do/reset", {"name": "relu", "level": 9, "digest": anew["digest"]})[0] == 400


def test_a_planted_mistake_takes_the_place_of_the_text_which_is_kept(server, tmp_path):
    _, found = asked(server, "/do/open", {"name": "relu"})
    status, planted = asked(server, "/do/plant", {"name": "relu", "digest": found["digest"]})
    assert status == 200 and planted["level"] == 0
    assert planted["task"].startswith("<p>One line of backward has a mistake.")
    assert "WRONG_LINE = ..." in planted["text"]
    assert (tmp_path / "learn" / planted["kept"]).read_text("utf-8") == found["text"]


def test_the_rows_of_a_file_that_does_not_parse_have_no_line(server, tmp_path):
    _, found = asked(server, "/do/open", {"name": "relu"})
    actions = server.actions
    (tmp_path / "learn" / "relu.py").write_text("def relu(x:\n", "utf-8")
    assert actions.lines_of(Verdict("relu", "failed", rows=(Row("(2)", "dx", WRONG_LINE),))) == [None]
    status, found = asked(server, "/do/open", {"name": "relu"})
    assert status == 200 and found["text"] == "def relu(x:\n" and "<math" in found["task"]


OPEN = {"name": "relu"}
HOSTILE = {
    "without the secret": (403, OPEN, {SECRET: None}),
    "with an empty secret": (403, OPEN, {SECRET: ""}),
    "with another secret": (403, OPEN, {SECRET: "x" * 43}),
    "with letters beyond ASCII in the secret": (403, OPEN, {SECRET: "é" * 43}),
    "of another host": (403, OPEN, {"Host": "evil.example"}),
    "of another host at the same port": (403, OPEN, {"Host": "evil.example:{port}"}),
    "of another port": (403, OPEN, {"Host": "127.0.0.1:1"}),
    "without a host": (403, OPEN, {"Host": None}),
    "of another origin": (403, OPEN, {"Origin": "http://evil.example"}),
    "of another port's origin": (403, OPEN, {"Origin": "http://127.0.0.1:1"}),
    "of the https origin": (403, OPEN, {"Origin": "https://127.0.0.1:{port}"}),
    "of a file's origin": (403, OPEN, {"Origin": "null"}),
    "of another site": (403, OPEN, {"Sec_Fetch_Site": "cross-site"}),
    "of the same site and another port": (403, OPEN, {"Sec_Fetch_Site": "same-site"}),
    "from an address bar": (403, OPEN, {"Sec_Fetch_Site": "none"}),
    "of a form": (415, OPEN, {"Content_Type": "application/x-www-form-urlencoded"}),
    "of plain text": (415, OPEN, {"Content_Type": "text/plain"}),
    "without a type": (415, OPEN, {"Content_Type": None}),
    "without a length": (411, OPEN, {"Content_Length": None}),
    "of a negative length": (411, OPEN, {"Content_Length": "-1"}),
    "of a length in words": (411, OPEN, {"Content_Length": "ten"}),
    "of a length in other digits": (411, OPEN, {"Content_Length": "²"}),
    "that is too long": (413, OPEN, {"Content_Length": str(MOST_BYTES + 1)}),
    "that is no JSON": (400, b"name=relu", {}),
    "that is no UTF-8": (400, b'{"name": "\xff"}', {}),
    "that is nested too deeply": (400, b"[" * 100_000, {}),
    "with a list": (400, ["relu"], {}),
    "with null": (400, None, {}),
    "without its key": (400, {}, {}),
    "with another key": (400, {**OPEN, "path": "/etc/passwd"}, {}),
    "with a number for a name": (400, {"name": 1}, {}),
    "with a list for a name": (400, {"name": ["relu"]}, {}),
    "with a path for a name": (400, {"name": "../relu"}, {}),
    "with an absolute path for a name": (400, {"name": "/etc/passwd"}, {}),
    "with a folder for a name": (400, {"name": "."}, {}),
    "with an empty name": (400, {"name": ""}, {}),
    "with a null character in the name": (400, {"name": "relu\0"}, {}),
    "with an unknown name": (400, {"name": "reluu"}, {}),
}


@pytest.mark.parametrize("which", HOSTILE)
def test_a_request_is_refused(refusing, which):
    server, folder = refusing
    expected, body, headers = HOSTILE[which]
    headers = {
        name: value.format(port=server.server_port) if name in ("Host", "Origin") and value else value
        for name, value in headers.items()
    }
    before = {path: path.read_bytes() for path in folder.iterdir()}
    status, answer = asked(server, "/do/open", body, **headers)
    assert status == expected
    assert answer["error"] and server.secret not in str(answer)
    assert before == {path: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "method, path, expected",
    [
        ("POST", "/do/opened", 404),
        ("POST", "/do/__init__", 404),
        ("POST", "/do/content_of", 404),
        ("POST", "/do/open?name=relu", 404),
        ("POST", "/open", 404),
        ("GET", "/do/open", 404),
        ("GET", "/workbench.html", 404),
        ("GET", "/../serving.py", 404),
        ("GET", "/%2e%2e/serving.py", 404),
        ("GET", "//etc/passwd", 404),
        ("GET", "/?x", 404),
        ("PUT", "/do/open", 501),
        ("DELETE", "/do/open", 501),
        ("OPTIONS", "/do/open", 501),
        ("CONNECT", "/do/open", 501),
    ],
)
def test_there_is_no_other_address(refusing, method, path, expected):
    assert asked(refusing[0], path, OPEN, method=method)[0] == expected


@pytest.mark.parametrize("number", [True, 7.0, "7", None])
def test_a_number_is_an_integer(refusing, number):
    assert asked(refusing[0], "/do/verdict", {"number": number, "parts": 0})[0] == 400


def test_a_text_is_not_saved_if_it_is_too_long(server, tmp_path):
    _, found = asked(server, "/do/open", OPEN)
    status, answer = asked(server, "/do/save", {**OPEN, "text": "#" * 1_000_001, "digest": found["digest"]})
    assert status == 400 and "at most 1,000,000" in answer["error"]
    assert (tmp_path / "learn" / "relu.py").read_text("utf-8") == found["text"]


def test_the_task_says_under_which_options_an_equation_holds():
    task = task_of(cut(named_exercise("cross_entropy"), 1), "cross_entropy.py")
    remarks = re.findall(r'<span class="quiet">\((.*?)\)</span>', task)
    assert {"plain", "mean", "sum, none", "none"} <= {*remarks}


def test_pages_have_no_secret_and_allow_no_script_but_their_own(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    for path in serving.FILES:
        connection.request("GET", path)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200 and server.secret.encode() not in content
        policy = answer.getheader("Content-Security-Policy")
        assert "default-src 'none'" in policy and "frame-ancestors 'self'" in policy
        assert "unsafe-inline" not in policy and "sha256" not in policy
        assert answer.getheader("Access-Control-Allow-Origin") is None
    connection.close()


def test_a_chapter_links_to_its_exercises_and_runs_only_its_own_scripts(server, tmp_path):
    assert asked(server, "/book/index.html", method="GET")[0] == 404
    assert asked(server, "/do/exercises", {})[1]["book"] == ""
    (tmp_path / "book").mkdir()
    (tmp_path / "secret.html").write_text("no page of the book", "utf-8")
    (tmp_path / "book" / "notes.txt").write_text("no page of the book", "utf-8")
    page = "<html><script>let a = 1</script><script src='live.js'></script><main><h1>Activations</h1>"
    page += '<section class="ladder" data-function="relu"></section></main></html>'
    for name in ("index.html", "activations.html"):
        (tmp_path / "book" / name).write_text(page, "utf-8")
    assert asked(server, "/book/index.html", method="GET") == (200, page)
    status, found = asked(server, "/book/activations.html", method="GET")
    assert (
        status == 200 and '<iframe src="/#/relu"' in found and found.index("relu") < found.index('data-function="relu"')
    )
    assert '<a href="/#/silu">silu</a>' in found and "/#/relu</a>" not in found
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    connection.request("GET", "/book/activations.html")
    policy = connection.getresponse().getheader("Content-Security-Policy")
    connection.close()
    digest = base64.b64encode(hashlib.sha256(b"let a = 1").digest()).decode()
    assert f"script-src 'self' 'unsafe-eval' 'sha256-{digest}';" in policy
    for name in ("", "notes.txt", "../secret.html", "..%2fsecret.html", "activations", "/etc/passwd"):
        assert asked(server, f"/book/{name}", method="GET")[0] == 404
    assert asked(server, "/do/exercises", {})[1]["book"] == "index.html"
    assert asked(server, "/do/open", {"name": "relu"})[1]["chapter"] == "activations.html"


def test_only_the_user_can_read_the_file_with_the_link(monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    with opened_in_browser("http://127.0.0.1:1/#secret"):
        path = Path(unquote(urlsplit(opened[0]).path))
        assert "#secret" in path.read_text("utf-8") and "secret" not in str(path)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


def test_an_unused_server_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "IDLE", 0.05)
    with Server(Actions(tmp_path, Known(), Book(tmp_path)), Book(tmp_path)) as made:
        made.serve_until_idle()
        assert serving.time.monotonic() - made.used > 0.05
