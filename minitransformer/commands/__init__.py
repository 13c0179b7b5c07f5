"""The commands of the command line, one module each. README.md describes the contract of such a module."""

GROUPS = {
    "read the derivations, and see what models learn": (
        *("book", "demo", "analyze", "influence", "patterns", "scale", "misconceptions"),
    ),
    "check gradients and speed": ("verify", "bench"),
    "teach and learn": ("learn",),
    "train and use models": ("train", "finetune", "generate", "chat", "fetch", "info"),
}
NAMES = tuple(name for names in GROUPS.values() for name in names)
