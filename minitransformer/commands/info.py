"""`minitransformer info`: the contents of a model's file, or this installation and its engine."""

import json
import re

from gradcheck.front.streams import printable, show
from gradcheck.front.tables import table
from minitransformer.commands.options import model_argument, switch
from minitransformer.language_model import is_pretrained, model_file
from minitransformer.system.version import __version__
from minitransformer.training.environment import environment, forms_in_use
from minitransformer.training.remembered import load_with_checkpoint

HELP = "describe a model's file or this installation"

EXAMPLES = """\
  minitransformer info
  minitransformer info runs/book
  minitransformer info runs/book/model.npz --json | python -m json.tool
"""

NOTES = """\
With MODEL, the command prints the configuration, the parameters by component, the cost per token, the tokenizer
and the progress of the training. Without MODEL, it prints versions, cores, and for each textbook function with a
faster twin in fast/ the version in use.
"""


def add_arguments(parser) -> None:
    model_argument(parser, nargs="?")
    switch(parser, "--json", "print one JSON object")


def run(arguments) -> int:
    facts = installation_facts() if arguments.model is None else model_facts(arguments.model)
    described = installation_lines if arguments.model is None else model_lines
    lines = [json.dumps(facts)] if arguments.json else described(facts)
    show("\n".join(printable(line, keep="") for line in lines))
    return 0


def installation_facts() -> dict:
    forms = {f"{function.__module__}.{function.__name__}": form for function, form in forms_in_use().items()}
    return {"minitransformer": __version__, **environment(), "twins": forms}


def installation_lines(facts: dict):
    yield from table([(name, value) for name, value in facts.items() if name != "twins"], "<")
    yield ""
    yield from table([("function of the textbook", "runs as"), *sorted(facts["twins"].items())], "<")


def model_facts(path) -> dict:
    lm, checkpoint = load_with_checkpoint(path)
    training = None
    if checkpoint is not None:
        training = {name: checkpoint.training[name] for name in ("step", "seconds", "last", "best", "corpus")}
        training |= {"steps": checkpoint.settings.steps, "settings": checkpoint.settings.to_dict()}
    model, tokenizer = lm.model, lm.tokenizer
    components = {}  # parameters with the same name in all blocks are combined
    for name, parameter in model.named_parameters():
        component = re.sub(r"^blocks\.\d+\.", "blocks.*.", name)
        entry = components.setdefault(component, {"name": component, "shape": list(parameter.data.shape), "times": 0})
        entry["times"] += 1
        entry["parameters"] = entry["times"] * parameter.data.size
    return {
        "file": str(path if is_pretrained(path) else model_file(path)),
        "config": model.config.to_dict(),
        "parameters": model.n_parameters(),
        "bytes": sum(parameter.data.nbytes for parameter in model.parameters()),
        "flops_per_token": model.flops_per_token(),
        "components": list(components.values()),
        "tokenizer": {"kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size},
        "training": training,
    }


def model_lines(facts: dict):
    total, tokenizer, training = facts["parameters"], facts["tokenizer"], facts["training"]
    yield f"{facts['file']}: a language model of {total:,} parameters"
    yield ""
    yield "configuration"
    yield from table([item for item in facts["config"].items() if item[1] is not None], "<")
    yield ""
    rows = [("parameters", "shape", "blocks", "numbers", "share")]
    for entry in facts["components"]:
        name, numbers = entry["name"], entry["parameters"]
        shape = " × ".join(map(str, entry["shape"]))
        rows.append((name, shape, entry["times"] if "*" in name else "", f"{numbers:,}", f"{numbers / total:.1%}"))
    if facts["config"]["tie_embeddings"]:
        rows.append(("lm_head", "the embedding", "", 0, f"{0:.1%}"))
    yield from table(rows)
    yield ""
    yield f"memory      {facts['bytes'] / 2**20:,.2f} MiB of weights"
    yield f"work        {facts['flops_per_token'] / 1e6:,.2f} MFLOP to train on a token, a third of it to predict one"
    yield f"tokenizer   {tokenizer['kind']}, {tokenizer['vocab_size']:,} tokens"
    if training is None:
        yield "training    not recorded in the file"
        return
    last, best, of_steps = training["last"], training["best"], f"step {training['step']:,} of {training['steps']:,}"
    yield f"training    {of_steps}, {training['seconds']:,.1f} s, on {training['corpus']['name']}"
    if "loss" in last:
        yield f"            training loss {last['loss']:.4f} at step {last['step']:,}"
    if "val_loss" in best:
        yield f"            lowest validation loss {best['val_loss']:.4f} at step {best['step']:,}"
