"""The page as one HTML document, assembled from a template, a style, a script and the data."""

import html
import json
import re
from importlib import resources
from pathlib import Path

from minitransformer.analysis.page.findings import page_findings
from minitransformer.language_model import LanguageModel
from minitransformer.system.files import write_atomically


def render_page(findings: dict, title: str) -> str:
    """Return an HTML document that shows the findings and has no external references."""
    parts = {
        "title": html.escape(title),
        "style": asset("page.css"),
        # A "<" in the data could end the script element, so it is written as an escape.
        "findings": json.dumps(findings, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"),
        "script": asset("page.js"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda placeholder: parts[placeholder[1]], asset("page.html"))


def asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def write_page(lm: LanguageModel, text: str, path, title: str | None = None, **options) -> None:
    """Write the page of a text to `path`, atomically. Options and exceptions are those of page_findings."""
    findings = page_findings(lm, text, **options)
    page = render_page(findings, title or text)
    write_atomically(Path(path), lambda file: file.write(page.encode("utf-8")))
