"""`minitransformer influence`: the familiarity of a prompt, and the training passages behind the model's answer."""

import json

import numpy as np

from gradcheck.front.streams import say, show
from minitransformer.commands.options import model_argument, option, seed_option, switch
from minitransformer.system.narrator import Narrator
from minitransformer.text import TextFiles, tokenize_corpus
from minitransformer.training.remembered import load_with_checkpoint, remembered_text, was_trained_on

HELP = "estimate whether a model was trained on text like a prompt, and rank the passages behind its answer"

EXAMPLES = """\
  minitransformer influence runs/book --prompt "It was the best of"
  minitransformer influence runs/book --prompt "It was the" "She said that" --passages 2000
  minitransformer influence model.npz --text book.txt --prompt "It was the" --json | python -m json.tool
"""

NOTES = """\
For each prompt, the report contains its familiarity to the model, the reliability of that measure, and the
passages of the training text whose gradients agree most with the gradient of the model's answer (TracIn).

The text is that of the training, with the last tenth held out as in train. Passages are one token longer than
the model's context, and at most 257 tokens long. They are drawn from both parts, and the report warns if the
parts differ in a way other than training.

A ranking is a hypothesis. To test it, train again without the passages (see PassageTraining in
minitransformer/experiments/influence/retraining.py).
"""


def add_arguments(parser) -> None:
    model_argument(parser)
    parser.add_argument("--prompt", nargs="+", required=True, metavar="TEXT", help="prompts to analyze")
    words = "files of the training text (default: those recorded in the model's file)"
    parser.add_argument("--text", nargs="+", metavar="FILE", help=words)
    option(parser, "--passages", "largest number of passages drawn from each part", 400, "N", limits={"minimum": 1})
    option(parser, "--answer-tokens", "largest number of tokens of an answer", 8, "N")
    seed_option(parser, "the choice of passages")
    switch(parser, "--json", "print the numbers as JSON")
    switch(parser, "--quiet", "show no progress bar")


def run(arguments) -> int:
    from minitransformer.experiments.influence import analyze_training_influence
    from minitransformer.experiments.influence.passages import cut

    narrator = Narrator(arguments.quiet)
    lm, checkpoint = load_with_checkpoint(arguments.model)
    text = remembered_text(checkpoint) if arguments.text is None else TextFiles(arguments.text)
    if text is None:
        raise ValueError(f"{arguments.model}: the training text is not recorded; name it with --text")
    corpus = tokenize_corpus(text, lm.tokenizer)
    if not was_trained_on(checkpoint, corpus):
        say(
            "minitransformer: warning: the model's file does not record this text as its training text, so passages "
            "that are called seen may not have been seen"
        )
    rng = np.random.default_rng(arguments.seed)
    pieces = [cut(lm, ids) for ids in (corpus.train_ids, corpus.val_ids)]
    chosen = [np.sort(rng.permutation(len(part))[: arguments.passages]) for part in pieces]
    seen, held_out = ([part[i] for i in places] for part, places in zip(pieces, chosen, strict=True))
    with narrator.progress("comparing gradients", "passages") as progress:
        report = analyze_training_influence(
            lm,
            arguments.prompt,
            training=seen,
            held_out=held_out,
            answer_tokens=arguments.answer_tokens,
            progress=progress,
        )
    show(json.dumps(report.to_dict()) if arguments.json else report)
    return 0
