"""The workbench: a page on which a backward pass is written beside its derivation. README.md lists the files."""
