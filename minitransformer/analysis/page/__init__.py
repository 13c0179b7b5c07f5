"""An HTML page with all analyses of one text, as a single file that works offline. README.md lists the files."""

from minitransformer.analysis.page.findings import page_findings
from minitransformer.analysis.page.rendering import render_page

__all__ = ["page_findings", "render_page"]
