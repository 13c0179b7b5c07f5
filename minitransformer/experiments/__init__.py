"""Experiments: models that are trained to find something out.

demonstration/   what `demo` shows: a model learns to write, another to repeat
patterns/        exercises in the place of a text, and what attention heads learn from them
emergence/       what comes with size, whether it comes suddenly, and what a budget is best spent on
misconceptions/  beliefs about language models, each tested in two minutes
influence/       whether a model has likely seen a text, and which passages made its answer
"""
