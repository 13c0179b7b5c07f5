"""Misconceptions, tested: each belief about language models as an experiment of at most two minutes.

    form.py          what each experiment says before it is run, and the interval of what is measured      Experiment

and then one file for each belief, whose docstring is the text that is shown.
"""
