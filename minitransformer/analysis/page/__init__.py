"""One page to look at: everything the analyses say about one text, as an HTML file that needs no network.

    from minitransformer.analysis.page import write_page

    write_page(lm, "The capital of France is", "analysis.html")

In reading order:

    findings.py   what the page shows, as data           page_findings
    rendering.py  the data and the files below, as one   render_page, write_page
    page.html     the skeleton
    page.css      how it looks: light and dark, wide and narrow
    page.js       what happens when a token or a head is pointed at
"""

from minitransformer.analysis.page.findings import page_findings
from minitransformer.analysis.page.rendering import render_page, write_page

__all__ = ["page_findings", "render_page", "write_page"]
