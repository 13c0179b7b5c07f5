"""Serve the page on this machine only, as Jupyter does.

The server listens on 127.0.0.1. Every action needs a secret, which is in the fragment of the page's address and is sent
as a header, so no other page can call an action, and no log contains it. The browser gets the address from a private
file, because other users can read the arguments of a program. The student's code runs in a bounded process
(system/bounded.py) with the rights of the user: this is not a sandbox.
"""

import contextlib
import hmac
import json
import secrets
import tempfile
import threading
import time
import webbrowser
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from gradcheck.front.streams import error_in_words
from minitransformer.learn.workbench.actions import Actions, Changed
from minitransformer.learn.workbench.book import Book
from minitransformer.system.processes import Lost

PAGE = Path(__file__).with_name("page")
FILES = {
    "/": ("workbench.html", "text/html; charset=utf-8"),
    "/workbench.css": ("workbench.css", "text/css; charset=utf-8"),
    "/workbench.js": ("workbench.js", "text/javascript; charset=utf-8"),
    "/book.css": ("../../../book/static/book.css", "text/css; charset=utf-8"),
    "/book-math.woff2": ("../../../book/static/book-math.woff2", "font/woff2"),
}
BOOK = "/book/"
ACTIONS = {  # {name: {argument: type}}
    "exercises": {},
    "status": {"name": str},
    "open": {"name": str},
    "save": {"name": str, "text": str, "digest": str},
    "check": {"name": str},
    "verdict": {"number": int, "parts": int},
    "hint": {"name": str},
    "numbers": {"name": str},
    "reset": {"name": str, "level": int, "digest": str},
    "plant": {"name": str, "digest": str},
}
SECRET = "X-Workbench-Secret"
MOST_BYTES = 2_000_000  # of a request
IDLE = 3600.0  # seconds without a request until the server ends
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-src 'self'; frame-ancestors 'self'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Refused(ValueError):  # noqa: N818
    """Raised if a request is not allowed. `status` is the HTTP status of the answer."""

    def __init__(self, status: HTTPStatus, message: str):
        super().__init__(message)
        self.status = status


class Server(ThreadingHTTPServer):
    """A server of the page with the given actions. It is a context manager, and ends after IDLE seconds of disuse."""

    daemon_threads = True

    def __init__(self, actions: Actions, book: Book, port: int = 0):
        super().__init__(("127.0.0.1", port), Handler)
        self.book = book
        self.actions, self.secret, self.used = actions, secrets.token_urlsafe(32), time.monotonic()
        self.hosts = {f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/#{self.secret}"

    def serve_until_idle(self) -> None:
        """Answer requests until `shutdown` is called or the server has not been used for IDLE seconds."""

        def watch():
            while not ended.wait(min(IDLE, 10)):
                if time.monotonic() - self.used > IDLE:
                    self.shutdown()

        ended = threading.Event()
        threading.Thread(target=watch, daemon=True).start()
        try:
            self.serve_forever(poll_interval=0.1)
        finally:
            ended.set()


class Handler(BaseHTTPRequestHandler):
    """The answer to one request."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "minitransformer", ""
    timeout = 60

    def do_GET(self):
        self.answer(self.file)

    def do_POST(self):
        self.answer(self.action)

    def answer(self, make) -> None:
        try:
            self.require_own_host()
            status, kind, content, *policy = make()
        except Refused as refused:
            self.close_connection = True  # the body may not have been read
            status, kind, content, *policy = refused.status, "application/json", in_json({"error": str(refused)})
        self.server.used = time.monotonic()
        self.send_response(status)
        own = {"Content-Type": kind, "Content-Length": str(len(content))}
        own["Content-Security-Policy"] = "".join(policy) or POLICY
        for name, value in (HEADERS | own).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def require_own_host(self) -> None:
        """Refuse a request to another host's name, which a page of that host could have sent (DNS rebinding)."""
        if self.headers.get("Host") not in self.server.hosts:
            raise Refused(HTTPStatus.FORBIDDEN, "Host is not that of this server")

    def file(self):
        name = self.path.removeprefix(BOOK)
        if name != self.path and self.server.book.has(name):
            kind, content, hashes = self.server.book.page(name)
            # The book's scripts compile the functions of its pages, which have styles of their own.
            scripts = " ".join(["script-src 'self' 'unsafe-eval'", *(f"'sha256-{digest}'" for digest in hashes)])
            policy = POLICY.replace("script-src 'self'", scripts)
            return HTTPStatus.OK, kind, content, policy.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
        if self.path not in FILES:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such page")
        name, kind = FILES[self.path]
        return HTTPStatus.OK, kind, (PAGE / name).read_bytes()

    def action(self):
        origin = self.headers.get("Origin")
        if origin is not None and origin not in {f"http://{host}" for host in self.server.hosts}:
            raise Refused(HTTPStatus.FORBIDDEN, "Origin is not this server")
        if self.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            raise Refused(HTTPStatus.FORBIDDEN, "the request comes from another site")
        if not hmac.compare_digest(self.headers.get(SECRET, "").encode(), self.server.secret.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, f"{SECRET} is missing or wrong: open the link of the terminal again")
        name = self.path.removeprefix("/do/")
        if name not in ACTIONS:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such action")
        arguments = self.arguments(ACTIONS[name])
        try:
            found = getattr(self.server.actions, name)(**arguments)
        except Changed as changed:
            return HTTPStatus.CONFLICT, "application/json", in_json({"error": str(changed), "text": changed.text})
        except (ValueError, OSError, Lost) as error:
            return HTTPStatus.BAD_REQUEST, "application/json", in_json({"error": error_in_words(error)})
        return HTTPStatus.OK, "application/json", in_json(found)

    def arguments(self, expected: dict) -> dict:
        """Return the arguments in the body, a JSON object with exactly the expected keys and types."""
        if self.headers.get("Content-Type") != "application/json":
            raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "Content-Length must be a number")
        if int(length) > MOST_BYTES:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the request has more than {MOST_BYTES:,} bytes")
        try:
            arguments = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise Refused(HTTPStatus.BAD_REQUEST, "the request must be JSON") from None
        if not isinstance(arguments, dict) or arguments.keys() != expected.keys():
            raise Refused(HTTPStatus.BAD_REQUEST, f"the keys must be {', '.join(expected) or 'none'}")
        for name, kind in expected.items():
            if type(arguments[name]) is not kind:
                raise Refused(HTTPStatus.BAD_REQUEST, f"{name} must be of the type {kind.__name__}")
        return arguments

    def log_message(self, format, *arguments) -> None:
        """Print nothing."""


def in_json(found: dict) -> bytes:
    return json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")


@contextlib.contextmanager
def opened_in_browser(address: str):
    """Return a context manager that opens an address in the browser, and removes the private file of it at the end."""
    with tempfile.TemporaryDirectory(prefix="minitransformer-") as folder:  # which only the user may read
        path = Path(folder) / "workbench.html"
        path.write_text(f'<!doctype html><meta http-equiv="refresh" content="0;url={address}">', "utf-8")
        webbrowser.open(path.as_uri())
        yield
