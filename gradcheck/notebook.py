"""A GradientError in a notebook: the table of its report above the message.

For an uncaught exception, IPython calls the method `_render_traceback_` and prints the text that it returns. The table
is published as an output of the cell, as HTML if the frontend displays HTML. Frames within gradcheck are left out of
the traceback, so that it ends at the caller's line.
"""

import os
import traceback

OURS = os.path.dirname(os.path.abspath(__file__))


def lines_below_the_table(error):
    """Publish the report of a GradientError, and return the lines of its traceback."""
    from IPython.display import publish_display_data

    from gradcheck.html import report_html

    text = "\n".join([str(error.report), *error.lines])
    publish_display_data({"text/plain": text, "text/html": report_html(error.report, error.lines)})
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_within(frame.filename)]
    where = "".join(traceback.format_list(frames)).splitlines()
    return [*where, *traceback.format_exception_only(error)[-1].splitlines()]


def _is_within(file):
    return file.startswith(OURS + os.sep) or f"{os.sep}IPython{os.sep}" in file
