"""The book: HTML pages of the derivations, generated from the sources. README.md lists the files in reading order."""
