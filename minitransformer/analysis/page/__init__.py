"""An HTML page with all analyses of one text, as a single file that needs no network.

    from minitransformer.analysis.page import write_page

    write_page(lm, "The capital of France is", "analysis.html")

The files in reading order:

    findings.py   the content of the page, as data            page_findings
    rendering.py  data and the files below in one document    render_page, write_page
    page.html     the skeleton
    page.css      the style, light and dark, wide and narrow
    page.js       the reaction to the pointer and the keyboard
"""

from minitransformer.analysis.page.findings import page_findings
from minitransformer.analysis.page.rendering import render_page, write_page

__all__ = ["page_findings", "render_page", "write_page"]
