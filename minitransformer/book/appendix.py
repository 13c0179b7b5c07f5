"""What stands after a derivation: the arrays to scale, what was saved, a Jacobian, and the check of the gradients."""

from html import escape

import numpy as np

from gradcheck import check_case
from gradcheck.html import report_html
from minitransformer.book.pictures import heat_map, picture_of_shapes
from minitransformer.cases import CASES


def appendix(found):
    """The shapes, what was saved, and the Jacobian."""
    body = []
    shown = [run for run in found if run.specimen.letters]
    if shown:
        body.append("<h2>The arrays, to scale</h2>")
        for run in shown:
            body.append(f"<p><code>{escape(run.specimen.function)}</code></p>")
            body.append(f'<div class="scroll">{picture_of_shapes(run.arrays(), run.specimen.letters)}</div>')
    saved = [(run, run.saved()) for run in shown if run.saved()]
    if saved:
        body.append("<h2>Saved for backward</h2>" + "".join(table_of_saved(run, arrays) for run, arrays in saved))
    return body + jacobians(found)


def table_of_saved(run, arrays):
    """A table of what backward needs of the forward pass."""
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{' × '.join(map(str, array.shape)) or '1'}</td><td>{array.size}</td></tr>"
        for name, array in arrays
    )
    heading = f"<tr><th>{escape(run.specimen.function)}</th><th>shape</th><th>numbers</th></tr>"
    return f'<div class="scroll"><table>{heading}{rows}</table></div>'


def jacobians(found):
    """The Jacobian of each function that has a specimen of one position."""
    body = []
    for run in found:
        matrix = run.small_jacobian()
        if matrix is not None:
            body.append(f"<figure>{heat_map(matrix, 'y', 'x')}</figure>")
    return ["<h2>The Jacobian at one position</h2>", *body] if body else []


def checks(cases):
    """The table of the gradient check for each case."""
    reports = [f'<div class="scroll">{report_html(check_case(case))}</div>' for case in cases]
    return ["<h2>Checked</h2>", *reports] if reports else []


def cases_of(file):
    """The cases of the functions and modules of a file of the package."""
    return [case for case in CASES if file_of(case.call(np.random.default_rng(0)).target) == file]


def file_of(function):
    """The file below the package in which a function or module is defined."""
    owner = function if hasattr(function, "__name__") else type(function)
    module = getattr(owner, "__module__", "") or ""
    return module.removeprefix("minitransformer.").replace(".", "/") + ".py"
