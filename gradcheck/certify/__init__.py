"""Decide without a tolerance whether a gradient is exactly right. See README.md.

The module is callable, because `gradcheck.certify` is the name of both this module and the public function.
"""

import sys
from functools import wraps
from types import ModuleType

from gradcheck.certify.certificate import Certificate, certify, certify_call
from gradcheck.certify.programs import same, same_gradient

__all__ = ["Certificate", "certify", "certify_call", "same", "same_gradient"]


class _Callable(ModuleType):
    @wraps(certify)
    def __call__(self, *inputs, **options):
        return certify(*inputs, **options)


sys.modules[__name__].__class__ = _Callable
