"""The book: the derivations as pages, made from the sources themselves, so that it cannot drift from them.

- `notation` is how equations are written in docstrings, and the tree that one parses to;
- `observation`, `specimens`, `execution` and `chapter` run the textbook's functions on small inputs and compare each
  equation, executed, with the value at its line;
- `typesetting` sets an equation as MathML.
"""
