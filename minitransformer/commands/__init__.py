"""The commands of the command line, one module each. README.md describes the contract of such a module."""

GROUPS = {
    "read: the derivations, and experiments on what models learn": (
        *("book", "demo", "analyze", "influence", "patterns", "scale", "misconceptions"),
    ),
    "check: the gradients of a model, and its speed": ("verify", "bench"),
    "teach: exercises, graded line by line": ("learn",),
    "train models and use them": ("train", "finetune", "generate", "chat", "fetch", "info"),
}
NAMES = tuple(name for names in GROUPS.values() for name in names)
