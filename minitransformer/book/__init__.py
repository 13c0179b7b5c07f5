"""The book: HTML pages of the derivations, generated from the sources, so that both always agree.

These modules read and execute equations:

- `notation` defines the syntax of equations and parses it; `symbols` maps symbols to names in the code;
- `observation` records the local variables of running functions; `specimens` are small calls to record;
- `execution` evaluates an expression with NumPy; `run` compares each equation with the value at its line of code;
- `statements` are the equations of a file; `derivations` reads a file and executes all of them.

These modules generate the pages:

- `typesetting` converts equations to MathML, `prose` docstrings and `listing` code to HTML; `matrices` and `pictures`
  show numbers;
- `passages` and `page` place derivation and code side by side; `appendix` and `exhibits` follow them;
- `handout`, `worksheets` with their `problems`, and `worked_example` are for teaching;
- `chapters` is the table of contents; `writing` and `printing` write the files.
"""
