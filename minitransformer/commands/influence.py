"""`minitransformer influence`: has a model seen the like of a prompt, and which passages made its answer?"""

import json

import numpy as np

from minitransformer.commands.generate import MODEL_HELP
from minitransformer.system.narrator import Narrator
from minitransformer.system.terminal import say, show
from minitransformer.text import TextFiles, tokenize_corpus
from minitransformer.training.remembered import load_with_training, remembered_text, was_trained_on
from minitransformer.values import whole

HELP = "whether a model has likely seen the like of a prompt, and which passages made its answer"

DESCRIPTION = """\
Say of each prompt how familiar it is to the model, whether it has likely seen something similar, how well that
can be told, and which passages of its training text pushed it most towards its own answer: those whose gradients
point the same way as the answer's (TracIn).

The text is that of the training, its last tenth held out, as train does. Passages one token longer than the model's
context, 257 at most, are drawn from both parts. Where they differ in more than having been seen, the report says
so if it can notice.
"""

EPILOG = """\
examples:
  minitransformer influence runs/book --prompt "It was the best of"
  minitransformer influence runs/book --prompt "It was the" "She said that" --passages 2000 --rank-by cosine
  minitransformer influence model.npz --text book.txt --prompt "It was the" --json | python -m json.tool

A ranking is a hypothesis, and training again without the passages is its test: see PassageTraining in
minitransformer/experiments/influence/retraining.py.
"""


def add_arguments(parser) -> None:
    """Add the options."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--prompt", nargs="+", required=True, metavar="TEXT", help="one prompt or several")
    parser.add_argument(
        "--text", nargs="+", metavar="FILE", help="the text it was trained on (default: what its file remembers)"
    )
    parser.add_argument(
        "--passages", type=int, default=400, metavar="N", help="to draw from each part, at most (default: 400)"
    )
    parser.add_argument("--answer-tokens", type=int, default=8, metavar="N", help="of the answer, at most (default: 8)")
    parser.add_argument(
        "--rank-by",
        choices=("influence", "cosine"),
        default="influence",
        help="the inner product of gradients, or the same without their lengths (default: influence)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draw of passages (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(arguments) -> int:
    """Draw passages, analyse the prompts, and print what was found."""
    from minitransformer.experiments.influence import analyze_training_influence

    narrator = Narrator(arguments.quiet)
    whole("--passages", arguments.passages, least=1)
    whole("--seed", arguments.seed, least=0)
    lm, training = load_with_training(arguments.model)
    corpus = tokenize_corpus(training_text(arguments, training), lm.tokenizer)
    warn_of_another_text(corpus, training)
    rng = np.random.default_rng(arguments.seed)
    seen, held_out = (drawn(lm, ids, arguments.passages, rng) for ids in (corpus.train_ids, corpus.val_ids))
    with narrator.progress("comparing gradients", "passages") as progress:
        report = analyze_training_influence(
            lm,
            arguments.prompt,
            training=seen,
            held_out=held_out,
            answer_tokens=arguments.answer_tokens,
            rank_by=arguments.rank_by,
            progress=progress,
        )
    show(json.dumps(report.to_dict()) if arguments.json else report)
    return 0


def training_text(arguments, training: dict):
    """Return the text that was given, or that the run remembers. Raises ValueError where it remembers none."""
    if arguments.text is not None:
        return TextFiles(arguments.text)
    text = remembered_text(arguments.model, training)
    if text is not None:
        return text
    raise ValueError(f"{arguments.model}: does not say which file it was trained on: give it with --text")


def warn_of_another_text(corpus, training: dict) -> None:
    """Say so on standard error where the text is not what the run was trained on, or nobody knows."""
    if not was_trained_on(training, corpus):
        say(
            "minitransformer: warning: the model's file does not say that it was trained on just this text: "
            "what is called seen may not have been"
        )


def drawn(lm, ids, number: int, rng) -> list:
    """Return at most so many passages of a text's ids, at random, in the order of the text."""
    from minitransformer.experiments.influence.passages import cut

    pieces = cut(lm, ids)
    chosen = np.sort(rng.permutation(len(pieces))[:number])
    return [pieces[i] for i in chosen]
