"""The version of the package, as its metadata has it too."""

__version__ = "0.2.0"
