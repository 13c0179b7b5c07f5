"""The book: the derivations as pages, made from the sources themselves, so that it cannot drift from them.

What an equation is, and whether it holds:

- `notation` is how equations are written in docstrings, and their tree; `symbols`, what its names mean in the code;
- `observation` watches a function run, and `specimens` are the small calls that are watched;
- `execution` says what an expression is worth, and a `run` compares each equation with the value at its line;
- `statements` are the equations of a file, and `derivations` all of it, read and executed.

How it looks:

- `typesetting` sets an equation as MathML, `prose` a docstring, `listing` code, `matrices` and `pictures` numbers;
- `passages` and `page` put them side by side; `appendix` and `exhibits` are what follows;
- `handout`, `worksheets` with their `problems`, and the `worked_example` are for a class;
- `chapters` are the table of contents, and `writing` and `printing` make files.
"""
