"""Takes one countermeasure away, to show that a test or the demo notices.

Python imports a module of this name at its start when this folder is on PYTHONPATH, which only
tests and `make demo BREAK=…` arrange. $LAB_BREAK names an entry of BREAKS; nothing of this is
reachable from the product.
"""

import os
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec
from typing import Any


def _revert(machine: Any) -> None:
    """A bad version is not noticed."""
    machine._breach = lambda plan, state, seen: None


# name -> (module, what to do to it once it is imported)
BREAKS: dict[str, tuple[str, Callable[[Any], None]]] = {
    "revert": ("pulumi_rollout.core.machine", _revert),
}


class _After(MetaPathFinder):
    """Runs a function on a module right after its import."""

    def __init__(self, module: str, change: Callable[[Any], None]) -> None:
        self._module, self._change = module, change

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != self._module:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            _wrap(spec.loader, self._change)
        return spec


def _wrap(loader: Loader, change: Callable[[Any], None]) -> None:
    original = loader.exec_module

    def exec_module(module: Any) -> None:
        original(module)
        change(module)

    loader.exec_module = exec_module  # type: ignore[method-assign]


if chosen := os.environ.get("LAB_BREAK"):
    if chosen not in BREAKS:
        sys.exit(f"LAB_BREAK={chosen} is not known; there are: {', '.join(BREAKS)}")
    sys.meta_path.insert(0, _After(*BREAKS[chosen]))
