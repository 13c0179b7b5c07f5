"""How much of a long table of examples of one claim a run takes: a sample, or with the profile "thorough" all."""

from hypothesis import settings

THOROUGH = settings.default.max_examples > 100  # --hypothesis-profile=thorough
