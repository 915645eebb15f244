"""Takes countermeasures away, to show that a test or the demo notices.

Python imports a module of this name at its start when this folder is on PYTHONPATH, which only
tests and `make demo BREAK=…` arrange; nothing of this is reachable from the product. $LAB_BREAK
names entries of PROGRAM or PROVIDER (`broken.py`), each for all applications or only for some:
`revert`, or `drain:app-one+app-two,memory:app-three`.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec
from typing import Any

from lab.breaks.broken import PROGRAM, PROVIDER, Concerns


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


def _once_known(module: str, change: Callable[[Any], None], concerns: Concerns, provider: Any) -> None:
    """A rollout has a process of its own, which learns with its first inputs whose it is."""
    original, known = provider._inputs, set[str]()

    def inputs(props: Any) -> Any:
        found = original(props)
        if not known and concerns(found.app):
            change(import_module(module))
        known.add(found.app)
        return found

    provider._inputs = inputs


def _break(name: str, apps: frozenset[str]) -> None:
    def concerns(app: str) -> bool:
        return not apps or app in apps

    if name in PROGRAM:
        module, declared = PROGRAM[name]
        sys.meta_path.insert(0, _After(module, lambda imported: declared(imported, concerns)))
    elif name in PROVIDER:
        module, change = PROVIDER[name]
        deferred = _After("pulumi_rollout.provider", functools.partial(_once_known, module, change, concerns))
        sys.meta_path.insert(0, deferred if apps else _After(module, change))
    else:
        sys.exit(f"LAB_BREAK={name} is not known; there are: {', '.join([*PROGRAM, *PROVIDER])}")


for chosen in filter(None, os.environ.get("LAB_BREAK", "").split(",")):
    broken, _, only = chosen.partition(":")
    _break(broken, frozenset(filter(None, only.split("+"))))
