"""The pages of a built book, with an editor at each function that is an exercise.

The pages are files of the user. Only their own scripts run, those within a page by their hashes. These scripts compile
the textbook's functions from text.
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
HIDES_THE_ANSWER = "<style>details.editor[open] + .ladder { display: none; }</style>"
EDITOR = (
    '<details class="editor"><summary>Write this backward pass yourself: each line is judged while you type</summary>'
    '<iframe src="/#/{name}" title="editor of {name}" loading="lazy" style="width: 100%; height: 44rem; border: 0">'
    "</iframe></details>"
)


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
            content = self.with_exercises(name, content)
        return f"{KINDS[path.suffix]}; charset=utf-8", content, hashes

    def with_exercises(self, name: str, page: bytes) -> bytes:
        """Return a chapter with an editor above the lines of each function that is an exercise.

        An editor is the page of the exercise in a frame, which is loaded when the reader unfolds it. Exercises whose
        function has no lines in the chapter are linked at its end.
        """
        own, links = [exercise for exercise in EXERCISES if chapter_of(exercise) == name], []
        for exercise in own:
            ladder = f'<section class="ladder" data-function="{exercise.target}"'.encode()
            if ladder in page:
                page = page.replace(ladder, EDITOR.format(name=exercise.name).encode() + ladder, 1)
            else:
                links.append(f'<a href="/#/{exercise.name}">{escape(exercise.name)}</a>')
        end = f'<section id="exercises"><h2>Write it yourself</h2><p>{", ".join(links)}</p></section>' if links else ""
        return page.replace(b"</main>", f"{HIDES_THE_ANSWER * bool(own)}{end}</main>".encode(), 1)
