"""The layers, one component a file: the derivation, the function, the module.

`minitransformer` has the reading order."""
