"""A GradientError in a notebook: the table of its report above the message, as a right report shows itself.

IPython asks an exception that nobody catches for its `_render_traceback_`. What that returns is text, so the table is
published as an output of the cell, in HTML where there is a page to show it. Of the traceback, the lines within
gradcheck are left out: the one to look at is the caller's.
"""

import os
import traceback

OURS = os.path.dirname(os.path.abspath(__file__))


def lines_below_the_table(error):
    """Publish the report of a GradientError, and return the lines of text that IPython shows of the error itself."""
    from IPython.display import publish_display_data

    from gradcheck.html import report_html

    text = "\n".join([str(error.report), *error.lines])
    publish_display_data({"text/plain": text, "text/html": report_html(error.report, error.lines)})
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_within(frame.filename)]
    where = "".join(traceback.format_list(frames)).splitlines()
    return [*where, *traceback.format_exception_only(error)[-1].splitlines()]


def _is_within(file):
    """Whether a file is one of gradcheck's, or of IPython's, which runs the cell."""
    return file.startswith(OURS + os.sep) or f"{os.sep}IPython{os.sep}" in file
