"""What `minitransformer demo` shows.

In reading order:

    narration.py   how it speaks
    writing.py     a model learns to write, and what its heads look at
    repeating.py   a tiny model learns to repeat what it never saw, and the heads that do it
"""
