"""`python -m lab.lean <module> [argument...]`: run a stand-in with Pulumi's messages and without the rest of its SDK.

Lives here: only that. A stand-in needs the protocol; to import it the usual way loads the whole SDK, which is up to
two thirds of a stand-in's start, and every `pulumi up` starts two of them.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
import types


def without_sdk() -> None:
    """Let `pulumi.runtime.proto`'s modules be found where they are, under packages that load nothing themselves."""
    spec = importlib.util.find_spec("pulumi")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the package pulumi is missing in this Python: run `make setup`")
    [home] = spec.submodule_search_locations
    for name in ("", ".runtime", ".runtime.proto"):
        package = types.ModuleType(f"pulumi{name}")
        package.__path__ = [home + name.replace(".", "/")]
        sys.modules[package.__name__] = package


if __name__ == "__main__":
    without_sdk()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
