"""The rules of a differentiable function that can be read off its source.

Each rule is a function from source to a list of faults. It is applied to the whole of minitransformer, and is itself
tested on examples: some break it, and some do not.

test_function_rules.py runs every function on arrays that cannot be written to.
"""

import ast
from functools import cache
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

import minitransformer

PACKAGE = Path(minitransformer.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPE = (*FUNCTION, ast.ClassDef, ast.Lambda)

VIEWS = {"reshape", "swapaxes", "transpose", "view", "ravel", "squeeze", "expand_dims", "asarray", "broadcast_to"}
ARRAY_WRITERS = {"sort", "fill", "put", "partition", "resize", "setfield", "setflags", "byteswap"}
FIRST_ARGUMENT_WRITERS = {"copyto", "put", "place", "putmask", "put_along_axis", "fill_diagonal", "shuffle"}
CONTAINER_WRITERS = {
    *("append", "extend", "insert", "pop", "remove", "clear", "reverse"),
    *("update", "setdefault", "popitem", "add", "discard"),
}


# Reading a function.


@cache
def within(node):
    """The nodes of one scope, parts before wholes, in the order of the source. A nested function is one node."""
    return tuple(parts(node))


def parts(node):
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, SCOPE):
            yield from parts(child)
        yield child


def functions(tree, prefix=""):
    """Yield (qualified name, function) for every function in a tree."""
    for node in within(tree):
        if isinstance(node, FUNCTION):
            yield prefix + node.name, node
        if isinstance(node, (*FUNCTION, ast.ClassDef)):
            yield from functions(node, f"{prefix}{node.name}.")


def is_backward(node):
    return isinstance(node, FUNCTION) and node.name.endswith("backward")


def differentiable(tree):
    """Yield (qualified name, function, its backward) for every function that defines a backward."""
    for name, function in functions(tree):
        for node in within(function):
            if is_backward(node):
                yield name, function, node


def parameters(function):
    """The names of a function's parameters."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return {argument.arg for argument in named if argument is not None}


def captured(backward):
    """The names that backward takes from outside, globals among them."""
    names = [node for node in ast.walk(backward) if isinstance(node, ast.Name)]
    own = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    own |= {node.name for node in ast.walk(backward) if isinstance(node, FUNCTION) and node is not backward}
    return {node.id for node in names} - own - parameters(backward)


def root(expression):
    """Return the name of which an expression is a part or a view: x for x[0].T.reshape(-1). A new array has None."""
    match expression:
        case ast.Name(id=name):
            return name
        case ast.Subscript(value=inner) | ast.Attribute(value=inner) | ast.Starred(value=inner):
            return root(inner)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="np"), attr=attr), args=[first, *_]) if attr in VIEWS:
            return root(first)
        case ast.Call(func=ast.Attribute(value=inner, attr=attr)) if attr in VIEWS:
            return root(inner)
    return None


def rebound(node):
    """Return the names that a node binds."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return [name]
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
    return []


def written(node):
    """The names of the arrays that a node writes into."""
    match node:
        case ast.AugAssign(target=target):
            return [root(target)]
        case ast.Subscript(ctx=ast.Store() | ast.Del()) | ast.Attribute(ctx=ast.Store() | ast.Del()):
            return [root(node)]
        case ast.Call():
            return [root(array) for array in outputs(node)]
    return []


def outputs(call):
    """Return the arrays that a call writes into: out=, z of np.add(x, y, z), x of x.sort() and of np.copyto(x, y)."""
    found = [keyword.value for keyword in call.keywords if keyword.arg == "out"]
    if isinstance(call.func, ast.Attribute):
        owner, name = call.func.value, call.func.attr
        ufunc = getattr(np, name, None) if root(owner) == "np" else None
        if isinstance(ufunc, np.ufunc):
            found += call.args[ufunc.nin :]
        elif name in FIRST_ARGUMENT_WRITERS or (name == "at" and root(owner) == "np"):
            found += call.args[:1]
        if name in ARRAY_WRITERS:
            found.append(owner)
    return [array for value in found for array in getattr(value, "elts", [value])]


def mutated(node):
    """The name of the list, dictionary or set that a node changes."""
    match node:
        case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in CONTAINER_WRITERS:
            return [root(value)]
    return []


# The rules.


def changes_after_backward(tree):
    """A name that backward captures is neither rebound nor written to after `def backward`, or in a loop around it."""
    for function_name, function, backward in differentiable(tree):
        loops = [node for node in within(function) if isinstance(node, (ast.For, ast.While))]
        around = [loop for loop in loops if loop.lineno < backward.lineno < loop.end_lineno]
        first = min((loop.lineno for loop in around), default=backward.end_lineno + 1)
        held = captured(backward)
        for node in within(function):
            if getattr(node, "lineno", 0) >= first and node is not backward:
                for name in {*rebound(node), *written(node), *mutated(node)} & held:
                    yield f"{function_name}, line {node.lineno}: {name} changes after {backward.name} captured it"


def backwards_without_def(tree):
    """The second of a returned pair is a function defined by def and called backward, never a lambda."""
    for name, function in functions(tree):
        nested = {node.name for node in within(function) if isinstance(node, FUNCTION)}
        for node in within(function):
            match node:
                case ast.Return(value=ast.Tuple(elts=[_, ast.Lambda()])):
                    yield f"{name}, line {node.lineno}: returns a lambda as backward"
                case ast.Return(value=ast.Tuple(elts=[_, ast.Name(id=second)])):
                    if second in nested and not second.endswith("backward"):
                        yield f"{name}, line {node.lineno}: backward is called {second}"
                case ast.Assign(targets=[ast.Name(id=target)], value=ast.Lambda()) if target.endswith("backward"):
                    yield f"{name}, line {node.lineno}: {target} is a lambda"


def positional_options(tree):
    """Arguments with a default are keyword-only, except an array that may be left out (bias=None)."""
    for name, function, _ in differentiable(tree):
        for default in function.args.defaults:
            if not (isinstance(default, ast.Constant) and default.value is None):
                yield f"{name}, line {function.lineno}: an option, with default {ast.unparse(default)}, is positional"


UNSAFE = {
    *("abs", "absolute", "conj", "conjugate", "vdot", "vecdot", "var", "std", "expit", "logaddexp", "log_expit"),
    *("maximum", "minimum", "fmax", "fmin", "amax", "amin", "angle"),
}


def complex_unsafe(tree):
    """No forward, nor a helper of one, takes moduli, conjugates, or orders complex numbers; `check_` functions may."""
    for name, function in functions(tree):
        if any("backward" in part or part.startswith("check_") for part in name.split(".")):
            continue
        for node in within(function):
            match node:
                case ast.Call(func=ast.Attribute(value=owner, attr="max" | "min" as attr)):
                    if not (isinstance(owner, ast.Attribute) and owner.attr == "real"):
                        yield f"{name}, line {node.lineno}: .{attr} not of .real"
                case ast.Call(func=ast.Name(id=called)) if called in UNSAFE:
                    yield f"{name}, line {node.lineno}: {called}"
                case ast.Attribute(attr=called) if called in UNSAFE:
                    yield f"{name}, line {node.lineno}: {called}"
                case ast.Attribute(value=ast.Attribute(attr="linalg"), attr="norm"):
                    yield f"{name}, line {node.lineno}: linalg.norm"


SCATTERS = {"at", "put_along_axis"}  # np.add.at, np.put_along_axis


def not_plain(tree):
    """The textbook's form: a name is bound once, in a function and its backward together; no array is written to, but
    by a scatter into a fresh one; and in backward a name dX is the gradient of the forward's X.
    """
    pairs = [(name, function, backward) for name, function, backward in differentiable(tree)]
    pairs += [(name, function, None) for name, function in functions(tree) if name == "adamw"]
    for function_name, function, backward in pairs:
        bound = sorted(parameters(function))
        for scope in filter(None, (function, backward)):
            bound += sorted(parameters(scope)) if scope is backward else []
            for node in within(scope):
                match node:
                    case ast.AugAssign():
                        yield f"{function_name}, line {node.lineno}: {ast.unparse(node.target)} is changed in place"
                    case ast.Subscript(ctx=ast.Store()) | ast.Attribute(ctx=ast.Store()):
                        yield f"{function_name}, line {node.lineno}: {ast.unparse(node)} is written to"
                    case ast.Call(func=func) if outputs(node) and getattr(func, "attr", None) not in SCATTERS:
                        yield f"{function_name}, line {node.lineno}: {ast.unparse(node)} writes into an array"
                    case ast.Name(id="_"):
                        continue
                for name in rebound(node):
                    if name in bound and name != "backward":
                        yield f"{function_name}, line {node.lineno}: {name} is bound again"
                    if scope is backward and name.startswith("d") and name[1:] not in forward_names(function):
                        yield f"{function_name}, line {node.lineno}: {name} is the gradient of nothing"
                    bound.append(name)


def forward_names(function):
    """The names that a function has before its backward: arguments and those that it binds."""
    return parameters(function) | {name for node in within(function) for name in rebound(node)}


RULES = [
    changes_after_backward,
    backwards_without_def,
    positional_options,
    complex_unsafe,
    not_plain,
]

EXCEPTIONS = {
    ("first_steps.py", complex_unsafe): ["check: abs"],  # no forward pass: it compares real gradients
    ("one_page.py", complex_unsafe): ["sample: .max not of .real"],  # no forward pass: it draws from real logits
}

# Rules of forward passes do not apply elsewhere: the optimiser, the sampler and the engine see real numbers only.
TEXTBOOK = {
    "first_steps.py",
    "layers",
    "modern",
    "one_page.py",
    "losses.py",
    "optim.py",
    "transformer.py",
    "module.py",
    "objectives",
}
WHERE = {
    complex_unsafe: TEXTBOOK - {"optim.py"},
    not_plain: TEXTBOOK - {"transformer.py", "module.py", "first_steps.py"},  # its loops bind their variables again
}


@cache
def parsed(source):
    return ast.parse(dedent(source))


def faults(source, rule):
    """Return the faults that a rule finds in a source text, in the order of its lines."""
    return sorted(set(rule(parsed(source))))


def without_line(fault):
    """A fault without the number of its line."""
    place, _, rest = fault.partition(":")
    return f"{place.partition(',')[0]}:{rest}"


def breaches(rule, sources):
    """Return the faults in sources {path: text} to which a rule applies, and the exceptions that are not needed."""
    found = []
    for path, source in sources.items():
        if {path.name, path.parent.name} & WHERE.get(rule, {path.name}):
            excused = EXCEPTIONS.get((path.name, rule), [])
            broken = faults(source, rule)
            found += [f"{path}: {fault}" for fault in broken if without_line(fault) not in excused]
            found += [f"{path}: not needed: {it}" for it in set(excused) - set(map(without_line, broken))]
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_source_keeps_the_rule(rule):
    assert breaches(rule, {path.relative_to(PACKAGE): path.read_text("utf-8") for path in FILES}) == []


def test_a_breach_is_listed_with_its_file_and_so_is_an_exception_that_is_not_needed():
    bad = "def f(x):\n    return abs(x)\n"
    assert breaches(complex_unsafe, {Path("layers/bad.py"): bad}) == ["layers/bad.py: f, line 2: abs"]
    assert breaches(complex_unsafe, {Path("training/elsewhere.py"): bad}) == []
    assert breaches(complex_unsafe, {Path("first_steps.py"): "x = 1\n"}) == ["first_steps.py: not needed: check: abs"]


FUNCTION_OF_X = """
    def f(self, x, w, *, option=1):
        saved = x * w
        total = 0
        names = []
        {before}

        def backward(dy):
            {inside}

        {after}
"""
INDENTS = {"before": 8, "inside": 12, "after": 8}
PARTS = {"before": "pass", "inside": "return dy * saved", "after": "return saved, backward"}


def snippet(part="before", text="pass"):
    """Return a differentiable function in which one part is replaced. `; ` separates the lines of the part."""
    parts = PARTS | {part: text.replace("; ", "\n" + " " * INDENTS[part])}
    return FUNCTION_OF_X.format(**parts)


# For each rule, and the part of the function that is replaced: texts that break the rule, and texts that keep it.
BROKEN = {
    (changes_after_backward, "after"): [
        *("saved = saved + 1", "saved += 1", "saved[0] += 1", "saved.real[0] = 1", "saved.sort()"),
        *("saved.reshape(-1).fill(0)", "np.exp(x, out=saved)", "np.exp(x, saved)", "np.add(x, x, saved[1:])"),
        *("np.copyto(saved, x)", "np.add.at(saved, 0, 1)", "del saved", "saved, other = x, x", "[saved, *others] = x"),
        *("for saved in x: pass", "with x as saved: pass", "y = (saved := x)", "saved.append(1)", "def saved(): pass"),
    ],
    (backwards_without_def, "after"): [
        *("return saved, lambda dy: dy", "my_backward = lambda dy: dy; return saved, my_backward"),
        "def gradient(dy): return dy; return saved, gradient",
    ],
    (complex_unsafe, "before"): [
        *("y = abs(x)", "y = np.abs(x)", "y = x.conj()", "y = np.vecdot(x, w)", "y = np.linalg.norm(x)"),
        *(
            "y = x.var(axis=-1)",
            "y = np.std(x)",
            "y = expit(x)",
            "y = scipy.special.expit(x)",
            "y = np.logaddexp(x, w)",
        ),
        *("y = x.max(axis=-1)", "y = np.max(x)", "y = np.maximum(x, 0)", "y = map(np.abs, x)"),
    ],
    (not_plain, "before"): [
        *("saved = saved + 1", "x = x.reshape(-1)", "saved *= 2", "saved[0] = 2", "np.exp(x, out=saved)"),
    ],
    (not_plain, "inside"): [
        *("dx = dy * saved; dx *= 2", "dx = dy * saved; dx = dx + 1", "total = dy.sum()", "dz = dy * saved"),
    ],
}
KEPT = {
    (changes_after_backward, "after"): [
        *("y = saved + 1", "total += 1", "y = saved; y = y + 1", "np.exp(saved, out=w)"),
    ],
    (backwards_without_def, "after"): [
        *("return saved, inner_backward", "key = lambda i: i; return saved, backward"),
    ],
    (complex_unsafe, "before"): ["y = x.real.max(axis=-1); z = max(1, 2)"],
    (complex_unsafe, "inside"): ["return np.vecdot(dy, saved.max())"],
    (not_plain, "inside"): [
        *("dx = dy * saved", "dsaved = dy * 2; dx, dw = dsaved * w, dsaved * x"),
        "dw = np.zeros(w.shape); np.add.at(dw, total, dy)",
    ],
    (not_plain, "before"): ["y, _ = layer(x); z, _ = layer(y)"],
}


def listed(table):
    """Return (rule, part, text) for each text of a table."""
    return [
        pytest.param(rule, part, text, id=f"{rule.__name__}: {text}")
        for (rule, part), texts in table.items()
        for text in texts
    ]


@pytest.mark.parametrize("rule, part, text", listed(BROKEN))
def test_a_broken_rule_is_found_once(rule, part, text):
    found = faults(snippet(part, text), rule)
    assert len(found) == 1 or (rule is not_plain and found)


@pytest.mark.parametrize("rule, part, text", listed(KEPT))
def test_a_kept_rule_has_no_faults(rule, part, text):
    assert faults(snippet(part, text), rule) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_function_of_the_examples_keeps_every_rule(rule):
    assert faults(snippet(), rule) == []


def test_a_change_in_a_loop_around_backward_is_found():
    source = """
        def f(x):
            backwards = []
            for layer in x:
                saved = layer * 2

                def backward(dy):
                    return dy * saved

                backwards.append(backward)
            return x, backward
    """
    assert faults(source, changes_after_backward) == ["f, line 5: saved changes after backward captured it"]


def test_a_positional_option_is_found_and_an_optional_array_is_not():
    assert len(faults(snippet().replace("*, option=1", "option=1"), positional_options)) == 1
    assert faults(snippet().replace("*, option=1", "bias=None, *, option=1"), positional_options) == []


def test_a_check_of_arguments_need_not_be_complex_safe():
    assert faults("def check_ids(ids):\n    return ids.max()", complex_unsafe) == []
