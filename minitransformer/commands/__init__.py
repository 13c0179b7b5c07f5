"""The commands of the command line, one module per command. README.md describes the contract of a module."""

GROUPS = {
    "read: the derivations, and experiments on models": (
        *("book", "demo", "analyze", "influence", "patterns", "scale", "misconceptions"),
    ),
    "check: the gradients of a model, and its speed": ("verify", "bench"),
    "teach: exercises that are graded line by line": ("learn",),
    "train and use models": ("train", "finetune", "generate", "chat", "fetch", "info"),
}
NAMES = tuple(name for names in GROUPS.values() for name in names)
