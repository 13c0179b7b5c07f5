"""The page as one HTML document, assembled from a template, a style, a script and the data."""

import html
import json
import re
from importlib import resources


def render_page(findings: dict, title: str) -> str:
    """Return an HTML document that shows `findings` and has no external references."""
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
