"""The textbook in a browser: each array that a translated function computes equals NumPy's."""

import pytest
from translated import TEXTBOOK, calls, faults, in_browser, page

from gradcheck.audit.mutations import mutate
from gradcheck.audit.trials import PlantingError, live_functions, planted
from minitransformer.book import translation
from minitransformer.book.live import edits
from minitransformer.book.planted import KINDS
from minitransformer.book.translation import TranslationError, translate
from minitransformer.layers.dropout import dropout
from minitransformer.layers.layer_norm import layer_norm

needs_a_browser = pytest.mark.slow


@pytest.fixture
def arrays(browser, tmp_path):
    """A page with arrays.js and live.js."""
    file = tmp_path / "arrays.html"
    file.write_text(page(), "utf-8")
    browser.get(file.as_uri())
    return browser


def test_each_statement_becomes_a_line_with_its_number():
    lines = translate(layer_norm)
    assert "const dx_hat = $.dx_hat = np.multiply(dy, gamma);  // (6) ← γ · x̂ (5)" in map(str.strip, lines)
    assert not any("check_layer_norm" in line for line in lines)


@pytest.mark.parametrize(
    "body, reason",
    [
        ("with np.errstate(): pass", "'with np.errstate():' is a kind of statement that has no translation"),
        ("x[0], y = 1, 2", "it writes into x[0]"),
        ("return np.fft.fft(x)", "np.fft is not among the functions and attributes of arrays.js"),
        ("return {**x}", "'{**x}' is a kind of expression that has no translation"),
        ("return print(x)", "print is a function that arrays.js does not define"),
    ],
)
def test_a_statement_without_translation_is_refused_with_its_reason(body, reason):
    source = f"def layer_norm(x, gamma, beta, *, eps=1e-5):\n    {body}\n"
    with pytest.raises(TranslationError) as refused:
        translate(layer_norm, source=source)
    assert str(refused.value) == reason


@needs_a_browser
def test_arrays_js_defines_what_the_translator_uses(arrays):
    defined = {name: set(arrays.execute_script(f"return Object.keys({name})")) for name in ("np", "math", "py")}
    assert defined["np"] == translation.NUMPY | {*translation.UFUNCS.values()}
    assert defined["math"] == translation.MATH
    assert defined["py"] >= translation.PYTHON


@needs_a_browser
@pytest.mark.parametrize("seed", [0, 1])
def test_each_variable_of_each_function_equals_numpys(arrays, seed):
    made = calls(seed)
    seen = [one.run() for one in made]
    shown = in_browser(arrays, [one.job([{}]) for one in made])
    found = {
        one.name: faults(a, b) if isinstance(b, dict) else b for one, a, (b,) in zip(made, seen, shown, strict=True)
    }
    assert {name: fault for name, fault in found.items() if fault} == {}
    assert arrays.execute_script("return performance.getEntriesByType('resource').length") == 0


@needs_a_browser
def test_a_fault_of_a_billionth_in_the_runtime_is_found(arrays):
    made = [one for one in calls(0) if one.name in ("layer_norm", "attention", "cross_entropy")]
    seen = [one.run() for one in made]
    arrays.execute_script("const exp = np.exp; np.exp = (x) => np.multiply(exp(x), 1 + 1e-9)")
    shown = in_browser(arrays, [one.job([{}]) for one in made])
    assert [bool(faults(a, b)) for a, (b,) in zip(seen, shown, strict=True)] == [False, True, True]


@needs_a_browser
def test_each_variable_with_a_planted_mistake_equals_numpys(arrays):
    paths = [str(path.resolve()) for path in TEXTBOOK]
    functions, mutants = live_functions(paths), {}
    for path in TEXTBOOK:
        for mutant in mutate(path.resolve()):
            if mutant.kind in KINDS:
                mutants.setdefault((str(path.resolve()), mutant.function.partition(".")[0]), []).append(mutant)
    made = {one.function: one for one in reversed(calls(0))}.values()  # the first call of each function
    jobs, expected = [], []
    for one in made:
        one.run()
        seen, changes = [], []
        for mutant in mutants.get((one.function.__code__.co_filename, one.function.__name__), []):
            try:
                with planted(mutant, functions):
                    seen.append(one.run())
            except (PlantingError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
                continue  # the mistake raises an exception, so no page shows it
            changes.append(edits(one.lines, translate(one.function, dropout, source=mutant.mutated_source)))
        jobs.append(one.job(changes))
        expected.append(seen)
    found = {}
    for one, seen, shown in zip(made, expected, in_browser(arrays, jobs), strict=True):
        for a, b in zip(seen, shown, strict=True):
            if fault := faults(a, b) if isinstance(b, dict) else b:
                found[one.name] = fault
    assert found == {}
    assert sum(map(len, expected)) > 400
