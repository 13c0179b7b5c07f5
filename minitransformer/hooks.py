"""Hooks: functions that receive the result of a module, and may record or replace it, its gradient, or both.

A hook is a function `(y, backward) -> (y, backward)`:

    def record(y, backward):
        seen.append(y)
        return y, backward

    def ablate(y, backward):
        def ablated_backward(dy):
            return backward(np.zeros_like(dy))  # a constant passes no gradient on

        return np.zeros_like(y), ablated_backward

    with model.hooked({"blocks.0.attention.weights": record, "blocks.1": ablate}):
        model.predict(ids)

`hooked` is the only way to install one. analysis/hooks.py has hooks for the interpretation of models.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from numpy.typing import NDArray

Result = tuple[NDArray[Any], Callable[[NDArray[Any]], Any]]
Hook = Callable[[NDArray[Any], Callable[[NDArray[Any]], Any]], Result]


class Hookable:
    """A module whose result is passed through its hooks, and a tree of such modules.

    A subclass defines `forward` and `named_modules`. Call the module itself, not `forward`, because only the call
    applies the hooks.
    """

    _hooks: tuple[Hook, ...] = ()  # an attribute of an instance only while it has hooks

    def __call__(self, *inputs: NDArray[Any], **options: Any) -> Result:
        """Run forward and apply the hooks to its result. Return (y, backward)."""
        y, backward = self.forward(*inputs, **options)
        for hook in self._hooks:
            y, backward = hook(y, backward)
        return y, backward

    def forward(self, *inputs: Any, **options: Any) -> Result:
        """Return (y, backward)."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def named_modules(self) -> Iterator[tuple[str, Any]]:
        """Yield (dotted name, module) for every module below this one."""
        raise NotImplementedError(f"{type(self).__name__} does not define named_modules")

    @property
    def is_hooked(self) -> bool:
        """Return True if a hook is installed on this module. Modules below it are not considered."""
        return bool(self._hooks)

    @contextmanager
    def hooked(self, hooks: Mapping[str, Hook]) -> Iterator[Self]:
        """Install hooks for the duration of a `with` block. `hooks` maps the dotted names of modules to hooks.

        New hooks are applied after those that are already installed. They are removed at the end of the block, also
        after an exception. Raises KeyError for an unknown name. The message suggests the most similar name.
        """
        modules = dict(self.named_modules())
        for name in hooks:
            if name not in modules:
                near = difflib.get_close_matches(name, modules, n=1, cutoff=0.0)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise KeyError(f"no activation is named {name!r}{hint}")
        before = {name: modules[name]._hooks for name in hooks}
        try:
            for name, hook in hooks.items():
                modules[name]._hooks = (*modules[name]._hooks, hook)
            yield self
        finally:
            for name, installed in before.items():
                modules[name]._hooks = installed
                if not installed:
                    del modules[name]._hooks
