"""The page as one file: skeleton, style, program and data put together."""

import html
import json
from importlib import resources
from pathlib import Path

from minitransformer.analysis.page.findings import page_findings
from minitransformer.files import write_atomically
from minitransformer.language_model import LanguageModel


def render_page(findings: dict, title: str) -> str:
    """Return what page_findings returned as an HTML document that refers to nothing outside itself."""
    parts = {
        "{{title}}": html.escape(title),
        "{{style}}": asset("page.css"),
        # In a script element, "<" could begin its end; JSON has another way to write it.
        "{{findings}}": json.dumps(findings, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"),
        "{{script}}": asset("page.js"),
    }
    page = asset("page.html")
    # From the last to the first: what has been put in is never looked through for placeholders.
    for placeholder, content in reversed(parts.items()):
        before, separator, after = page.partition(placeholder)
        assert separator, placeholder
        page = before + content + after
    return page


def asset(name: str) -> str:
    """Return the text of a file beside this one."""
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def write_page(lm: LanguageModel, text: str, path, title: str | None = None, **options) -> None:
    """Write the page of a text to `path`, atomically. The options are those of page_findings, as is what is raised.

    Raises OSError, naming the file, where it cannot be written.
    """
    findings = page_findings(lm, text, **options)
    page = render_page(findings, title or text)
    write_atomically(Path(path), lambda file: file.write(page.encode("utf-8")))
