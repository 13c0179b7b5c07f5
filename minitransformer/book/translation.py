"""Translate functions of the textbook to JavaScript, line by line, so that a page can run them.

Every statement becomes one line. Its operators become the functions of NumPy that Python calls for them, with the names
and rules of NumPy (static/arrays.js):

    dx_hat = dy * gamma              const dx_hat = $.dx_hat = np.multiply(dy, gamma);

`backward` remains a closure. `$` records the local variables of a call, as the hook in observation.py does in Python.
Keyword arguments become an object after the other arguments. Two kinds of statements are left out: docstrings, and the
checks of arguments. In a browser every number is float64, and none is complex.

A function that cannot be translated raises TranslationError with the reason.
"""

import ast
import builtins
import inspect
import io
import json
import math
import tokenize
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import FunctionType, ModuleType

import numpy as np

from gradcheck.names import names_bound, nodes_of
from minitransformer.book.chapters import PACKAGE
from minitransformer.book.observation import parsed, read_python
from minitransformer.module import faster

UFUNCS = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.FloorDiv: "floor_divide",
    ast.Mod: "remainder",
    ast.Pow: "power",
    ast.MatMult: "matmul",
    ast.BitAnd: "logical_and",
    ast.BitOr: "logical_or",
    ast.USub: "negative",
    ast.Invert: "logical_not",
    ast.Eq: "equal",
    ast.NotEq: "not_equal",
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
}
RUNTIME = {np: "np", math: "math", partial: "py.partial"}  # objects that static/arrays.js defines
# What static/arrays.js defines: NumPy's functions (besides UFUNCS), Python's, and the attributes of arrays and lists.
NUMPY = {
    *("add", "arange", "argsort", "array", "asarray", "bool_", "broadcast_to", "clip", "concatenate", "cos"),
    *("divide", "equal", "exp", "eye", "float32", "float64", "full", "inf", "int64", "log", "maximum"),
    *("minimum", "moveaxis", "newaxis", "ones", "pi", "put_along_axis", "repeat", "sin", "sqrt", "square"),
    *("stack", "sum", "take", "tanh", "tile", "tri", "where", "zeros", "zeros_like"),
}
MATH = {"ceil", "cos", "exp", "floor", "inf", "isfinite", "log", "pi", "prod", "sqrt"}
PYTHON = {
    *("bool", "float", "int", "len", "list", "max", "min", "partial", "range", "reversed", "sum"),
    *("tuple", "zip"),
}
ATTRIBUTES = {
    *("append", "astype", "at", "copy", "dtype", "get", "max", "mean", "min", "ndim", "ravel", "real"),
    *("reshape", "shape", "size", "sum", "swapaxes", "T"),
}
METHODS = {"append": "push"}
RESERVED = {
    *("arguments", "class", "const", "default", "delete", "enum", "eval", "export", "function", "in", "let", "new"),
    *("null", "switch", "this", "typeof", "var", "void"),
}


class TranslationError(ValueError):
    """A function cannot be translated. The message is the reason."""


@dataclass
class File:
    """The translated functions of a file."""

    name: str
    source: str
    imports: dict = field(default_factory=dict)  # {name: the function or number that it refers to}
    functions: dict = field(default_factory=dict)  # {name: lines of JavaScript}

    def lines(self) -> list[str]:
        body = [line for name, value in sorted(self.imports.items()) for line in self.imported(name, value)]
        body += [line for lines in self.functions.values() for line in lines]
        exported = ", ".join(self.functions)
        return [
            f"textbook[{quoted(self.name)}] = (() => {{",
            *map(indented, body),
            f"  return {{ {exported} }};",
            "})();",
        ]

    def imported(self, name, value):
        if not isinstance(value, FunctionType):
            return [f"const {name} = {constant(value)};"]
        if file_of(value) == self.name:
            return []
        renamed = "" if value.__name__ == name else f": {name}"
        return [f"const {{ {value.__name__}{renamed} }} = textbook[{quoted(file_of(value))}];"]


def translate(*functions, source: str | None = None) -> list[str]:
    """Return the lines of JavaScript of functions, and of all functions that they call.

    If `source` is given, it replaces the text of the file of the first function. Raises TranslationError.
    """
    files: dict = {}
    sources = {} if source is None else {file_of(functions[0]): source}
    for function in functions:
        translate_into(files, function, sources)
    return [line for file in in_order(files) for line in file.lines()]


def translate_into(files, function, sources):
    name = file_of(function)
    source = sources.get(name) or read_python(function.__code__.co_filename)
    file = files.setdefault(name, File(name, source))
    if function.__name__ in file.functions:
        return
    node = next((n for n in parsed(source).body if getattr(n, "name", "") == function.__name__), None)
    if not isinstance(node, ast.FunctionDef):
        raise TranslationError("it is a method, whose arrays belong to an object")
    file.functions[node.name] = []  # a function may refer to itself
    translator = Translator(function.__globals__, comments(source))
    file.functions[node.name] = translator.function(node)
    for name, value in translator.globals.items():
        file.imports[name] = value
        if isinstance(value, FunctionType):
            translate_into(files, value, sources)


def in_order(files) -> list[File]:
    """Sort files so that each follows those that it imports from."""
    found: list = []

    def visit(file):
        for value in file.imports.values():
            other = files[file_of(value)] if isinstance(value, FunctionType) else file
            if other is not file and other not in found:
                visit(other)
        if file not in found:
            found.append(file)

    for file in files.values():
        visit(file)
    return found


def file_of(function) -> str:
    """Return the path of a function's file within the package, or the name of a file elsewhere."""
    path = Path(function.__code__.co_filename).resolve()
    return path.relative_to(PACKAGE.resolve()).as_posix() if path.is_relative_to(PACKAGE.resolve()) else path.name


@cache
def comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string[1:].strip() for token in tokens if token.type == tokenize.COMMENT}


class Translator:
    """Translate one function, whose global names are `known`. `globals` contains those of them that it uses."""

    def __init__(self, known, comments):
        self.known, self.comments, self.globals = known, comments, {}
        self.local: list = []  # a set of local names for each function around the current node
        self.hoisted: set = set()  # local names of the current function that are not constants

    def function(self, node, inside="") -> list[str]:
        qualified, outer = f"{inside}{node.name}", self.hoisted
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.kwarg)
        given = [argument.arg for argument in arguments if argument is not None]
        self.local.append({*given, *names_bound(*node.body)})
        self.hoisted = hoisted(node.body, given)
        body = [line for part in node.body for line in self.statement(part, f"{qualified}.<locals>.")]
        declared = "".join(f" let {name};" for name in sorted(self.hoisted - {*given}))
        frame = f"const $ = py.frame({quoted(qualified)}, {{ {', '.join(map(spelled, given))} }});{declared}"
        made = [f"function {node.name}({self.parameters(node.args)}) {{", *map(indented, [frame, *body]), "}"]
        self.local.pop()
        self.hoisted = outer
        return made

    def parameters(self, args) -> str:
        if args.vararg is not None:
            raise TranslationError(f"it takes any number of arguments, *{args.vararg.arg}")
        positional = [*args.posonlyargs, *args.args]
        defaults = [None] * (len(positional) - len(args.defaults)) + args.defaults
        listed = [self.parameter(*pair) for pair in zip(positional, defaults, strict=True)]
        named = [self.parameter(*pair) for pair in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
        named += [f"...{args.kwarg.arg}"] if args.kwarg else []
        return ", ".join(listed + ([f"{{ {', '.join(named)} }} = {{}}"] if named else []))

    def parameter(self, argument, default):
        return spelled(argument.arg) + ("" if default is None else f" = {self.expression(default)}")

    def statement(self, node, inside) -> list[str]:
        comment = self.comments.get(node.end_lineno)
        beside = f"  // {comment}" if comment and not isinstance(node, (ast.FunctionDef, ast.If, ast.For)) else ""
        match node:
            case ast.Expr(ast.Constant(str())):
                return []
            case ast.Expr(ast.Call(ast.Name(name))) if name.startswith(("check_", "require_")):
                return []
            case ast.If() if isinstance(node.body[-1], ast.Raise) and not node.orelse:  # a check of arguments
                return []
            case ast.Expr(value):
                return [f"{self.expression(value)};{beside}"]
            case ast.Assign([ast.Subscript(array, index)], value):
                return [f"{self.put(array, index, self.expression(value))};{beside}"]
            case ast.AugAssign(ast.Subscript(array, index) as target, operator, value):
                return [f"{self.put(array, index, self.expression(ast.BinOp(target, operator, value)))};{beside}"]
            case ast.Assign(targets, value):
                return [self.assignment(targets, self.expression(value)) + beside]
            case ast.AnnAssign(target, _, ast.expr() as value):
                return [self.assignment([target], self.expression(value)) + beside]
            case ast.AugAssign(ast.Name() as target, operator, value):
                read = ast.BinOp(ast.Name(target.id, ast.Load()), operator, value)
                return [self.assignment([target], self.expression(read)) + beside]
            case ast.Return(value):
                recorded = "" if isinstance(value, (ast.Name, ast.Tuple)) else "$.return = "
                return [f"return {recorded}{'null' if value is None else self.expression(value)};{beside}"]
            case ast.If(test, body, orelse):
                return [f"if ({self.test(test)}) {{", *self.block(body, inside), *self.otherwise(orelse, inside), "}"]
            case ast.For(target, iterated, body, []):
                loop = f"for (const {self.target(target) or '_'} of py.iterate({self.expression(iterated)})) {{"
                recorded = self.target(target, "$.")
                record = f" {recorded} = {self.target(target)};" if recorded else ""
                return [f"{loop}{record}", *self.block(body, inside), "}"]
            case ast.FunctionDef():
                return self.function(node, inside)
            case ast.ImportFrom("scipy.special", names):
                return [f"const {{ {', '.join(alias.name for alias in names)} }} = special;"]
        raise TranslationError(f"{ast.unparse(node).splitlines()[0]!r} is a kind of statement that has no translation")

    def block(self, body, inside):
        return [indented(line) for part in body for line in self.statement(part, inside)]

    def otherwise(self, orelse, inside):
        return ["} else {", *self.block(orelse, inside)] if orelse else []

    def assignment(self, targets, value) -> str:
        made = []
        for target in targets:
            names = names_in_target(target)
            recorded = self.target(target, "$.")
            whole, before = self.star_first(target)
            value = f"py.unpack({value}, {before}, {whole})" if whole else value
            declares = "" if self.hoisted.intersection(names) else "const "
            made.append(f"{declares}{self.target(target)} = {recorded} = {value};")
            value = self.target(target)
        return " ".join(made)

    def star_first(self, target):
        """Return the number of names, and that before a name with a star that is not the last."""
        parts = target.elts if isinstance(target, (ast.Tuple, ast.List)) else []
        stars = [k for k, part in enumerate(parts) if isinstance(part, ast.Starred)]
        return (len(parts), stars[0]) if stars and stars[0] < len(parts) - 1 else (0, 0)

    def target(self, node, prefix="") -> str:
        match node:
            case ast.Name("_"):
                return ""
            case ast.Name(name):
                return prefix + spelled(name)
            case ast.Starred(value):
                return f"...{self.target(value, prefix)}"
            case ast.Tuple(parts) | ast.List(parts):
                if self.star_first(node)[0]:
                    parts = [part.value if isinstance(part, ast.Starred) else part for part in parts]
                return f"[{', '.join(self.target(part, prefix) for part in parts)}]"
        raise TranslationError(f"it writes into {ast.unparse(node)}")

    def test(self, node) -> str:
        match node:
            case ast.BoolOp() | ast.UnaryOp(ast.Not()):
                return self.expression(node)
            case ast.Compare(_, [ast.Is() | ast.IsNot() | ast.In() | ast.NotIn()]):
                return self.expression(node)
        return f"py.bool({self.expression(node)})"

    def expression(self, node) -> str:
        match node:
            case ast.Constant(value):
                return constant(value)
            case ast.Name(name):
                return self.name(name)
            case ast.UnaryOp(ast.USub(), ast.Constant(value)):
                return f"-{value}"
            case ast.UnaryOp(ast.Not(), operand):
                return f"!{self.test(operand)}"
            case ast.UnaryOp(operator, operand) if type(operator) in UFUNCS:
                return f"np.{UFUNCS[type(operator)]}({self.expression(operand)})"
            case ast.BinOp(left, operator, right) if type(operator) in UFUNCS:
                return f"np.{UFUNCS[type(operator)]}({self.expression(left)}, {self.expression(right)})"
            case ast.BoolOp(operator, values):
                return f"({(' && ' if isinstance(operator, ast.And) else ' || ').join(map(self.expression, values))})"
            case ast.Compare(left, operators, rights):
                pairs = zip([left, *rights], operators, rights, strict=False)
                compared = [self.comparison(*pair) for pair in pairs]
                return compared[0] if len(compared) == 1 else f"({' && '.join(compared)})"
            case ast.IfExp(test, body, orelse):
                return f"({self.test(test)} ? {self.expression(body)} : {self.expression(orelse)})"
            case ast.Call():
                return self.call(node)
            case ast.Attribute(value, name):
                whose = self.expression(value)
                if name not in {"np": NUMPY, "math": MATH}.get(whose, ATTRIBUTES):
                    raise TranslationError(
                        f"{ast.unparse(node)} is not among the functions and attributes of arrays.js"
                    )
                return f"{whose}.{METHODS.get(name, name)}"
            case ast.Subscript(value, index):
                return f"py.item({self.expression(value)}, {self.indices(index)})"
            case ast.Slice():
                parts = (node.lower, node.upper, node.step)
                return f"py.slice({', '.join('null' if part is None else self.expression(part) for part in parts)})"
            case ast.Starred(value):
                return f"...{self.expression(value)}"
            case ast.Tuple(parts) | ast.List(parts):
                return f"[{', '.join(map(self.expression, parts))}]"
            case ast.GeneratorExp(made, [loop]) | ast.ListComp(made, [loop]):
                return self.comprehension(made, loop)
        raise TranslationError(f"{ast.unparse(node)!r} is a kind of expression that has no translation")

    def indices(self, index) -> str:
        return ", ".join(map(self.expression, index.elts if isinstance(index, ast.Tuple) else [index]))

    def put(self, array, index, value) -> str:
        return f"py.put({self.expression(array)}, {value}, {self.indices(index)})"

    def name(self, name) -> str:
        if any(name in names for names in self.local):
            return spelled(name)
        value = self.known.get(name, vars(builtins).get(name))
        if value in RUNTIME.values() or (isinstance(value, (ModuleType, type)) and value in RUNTIME):
            return RUNTIME[value]
        if value is getattr(builtins, name, None) and name in PYTHON:
            return f"py.{name}"
        package = self.known["__name__"].partition(".")[0]
        is_near = isinstance(value, FunctionType) and value.__module__.partition(".")[0] == package
        if not is_near and not isinstance(value, (int, float, str)):
            kind = "module" if isinstance(value, ModuleType) else "class" if isinstance(value, type) else "function"
            raise TranslationError(f"{name} is a {kind} that arrays.js does not define")
        self.globals[name] = value
        return name

    def comparison(self, left, operator, right):
        a, b = self.expression(left), self.expression(right)
        if isinstance(operator, (ast.Is, ast.IsNot)):
            return f"{a} {'===' if isinstance(operator, ast.Is) else '!=='} {b}"
        if type(operator) not in UFUNCS:
            raise TranslationError(f"{ast.unparse(operator)!r} is an operator that has no translation")
        return f"np.{UFUNCS[type(operator)]}({a}, {b})"

    def call(self, node) -> str:
        if isinstance(node.func, ast.Name) and self.known.get(node.func.id) is faster:  # a page has no twins
            return self.expression(node.args[0])
        arguments, named = list(map(self.expression, node.args)), {}
        spread = [f"...{self.expression(keyword.value)}" for keyword in node.keywords if keyword.arg is None]
        for keyword in node.keywords:
            if keyword.arg is not None:
                named[keyword.arg] = self.expression(keyword.value)
        function = self.expression(node.func)
        for name in positional(self.globals.get(function))[len(arguments) :]:
            if name in named:
                arguments.append(named.pop(name))
        options = [*(name if name == value else f"{name}: {value}" for name, value in named.items()), *spread]
        arguments += [f"{{ {', '.join(options)} }}"] if options else []
        return f"{function}({', '.join(arguments)})"

    def comprehension(self, made, loop):
        self.local.append({*names_in_target(loop.target)})
        target = self.target(loop.target)
        kept = "".join(f".filter(({target}) => {self.test(test)})" for test in loop.ifs)
        body = self.expression(made)
        self.local.pop()
        return f"py.iterate({self.expression(loop.iter)}){kept}.map(({target}) => {body})"


def positional(function) -> list[str]:
    """Return the names of the positional parameters of a function of the textbook."""
    if not isinstance(function, FunctionType):
        return []
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]


def hoisted(body, parameters) -> set[str]:
    """Return the names that are assigned more than once, or only within a loop or a condition."""
    nodes = nodes_of(*body, enters_scopes=False)
    assigned = [names_in_target(target) for node in nodes for target in targets_of(node)]
    at_top = {name for node in body for target in targets_of(node) for name in names_in_target(target)}
    every = [name for names in assigned for name in names]
    found = {name for name in every if every.count(name) > 1 or name in parameters or name not in at_top}
    while others := {name for names in assigned if found.intersection(names) for name in names} - found:
        found |= others
    return found


def targets_of(node):
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, (ast.AnnAssign, ast.AugAssign)) else []


def names_in_target(node) -> list[str]:
    names = [part for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]
    return [name.id for name in names if name.id != "_"]


def spelled(name: str) -> str:
    return f"{name}$" if name in RESERVED else name


def constant(value) -> str:
    return "py.Ellipsis" if value is ... else json.dumps(value, ensure_ascii=False)


def encoded(value):
    """Return a value in a form that JSON can express and `decoded` in static/arrays.js reads.

    An array is {"float": its entries, "shape": …}, or with "int" or "bool" in place of "float". Entries that are not
    finite are strings. Raises TranslationError for a value that has no such form.
    """
    if isinstance(value, (np.ndarray, np.generic)):
        kind = {"f": "float", "i": "int", "u": "int", "b": "bool"}[value.dtype.kind]
        return {kind: list(map(encoded, np.ravel(value).tolist())), "shape": list(value.shape)}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value).replace("inf", "Infinity").replace("nan", "NaN")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return list(map(encoded, value))
    if isinstance(value, dict):
        return {"dict": {name: encoded(one) for name, one in value.items()}}
    function, keywords = (value.func, value.keywords) if isinstance(value, partial) else (value, {})
    if not isinstance(function, FunctionType) or "<locals>" in function.__qualname__:
        raise TranslationError(f"{value!r} has no form in JSON")
    named = {name: encoded(one) for name, one in keywords.items()}
    return {"function": file_of(function), "name": function.__name__, "keywords": named}


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def indented(line: str) -> str:
    return f"  {line}"
