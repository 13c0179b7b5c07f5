"""The pages of a built book, with a link from each function that is an exercise to the workbench.

The pages are files of the user. Their scripts are allowed by their hashes, so that nothing else can run.
"""

import base64
import hashlib
import re
from html import escape
from pathlib import Path

from minitransformer.learn.exercises import EXERCISES

KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".woff2": "font/woff2",
    ".svg": "image/svg+xml",
}
SCRIPT = re.compile(rb"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)
INDEX = "index.html"


def chapter_of(exercise) -> str:
    return f"{exercise.source.stem}.html"


class Book:
    """The book in `folder`, or none if it contains no index."""

    def __init__(self, folder):
        self.folder = Path(folder)

    @property
    def is_there(self) -> bool:
        return (self.folder / INDEX).is_file()

    def has(self, name: str) -> bool:
        """Return True if a file of this name is in the folder. A name with a slash is none."""
        return self.is_there and any(path.name == name and path.suffix in KINDS for path in self.folder.iterdir())

    def page(self, name: str) -> tuple[str, bytes, list[str]]:
        """Return the type and the content of a file, and the hashes of the scripts within it."""
        path = self.folder / name
        content, hashes = path.read_bytes(), []
        if path.suffix == ".html":
            hashes = [base64.b64encode(hashlib.sha256(s).digest()).decode() for s in SCRIPT.findall(content)]
            content = content.replace(b"</main>", self.doors(name).encode() + b"</main>", 1)
        return f"{KINDS[path.suffix]}; charset=utf-8", content, hashes

    def doors(self, name: str) -> str:
        """Return the links to the exercises of a chapter as HTML, or "" if it has none."""
        own = [exercise for exercise in EXERCISES if chapter_of(exercise) == name]
        links = ", ".join(f'<a href="/#/{e.name}">{escape(e.name)}</a>' for e in own)
        words = "Write this backward pass yourself" if len(own) == 1 else "Write these backward passes yourself"
        return (
            f'<section id="exercises"><h2>{words}</h2><p>{links}: each line is judged while you type.</p></section>'
            * bool(own)
        )
