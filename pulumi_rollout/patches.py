"""JSON Patches (RFC 6902) that change an object only where it is still what was seen.

Pure. Lives here: the difference of two JSON values as operations, which an API server performs all or
none. Not here: what the values mean (`routers/`), and who sends them (`guard.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Operation = dict[str, Any]


def patch(before: Any, after: Any, path: str = "", siblings: Sequence[Any] = ()) -> list[Operation]:
    """From `before` to `after`. A scalar is replaced whatever it is by then, as long as its scalar
    neighbours in the same object, which say what it belongs to, are as before; where there are none, all
    by which the object differs from others of its list. A value whose shape changes is replaced as a
    whole, as long as all of it is as before. + siblings: the list that `before` stands in"""
    if _same(before, after):
        return []
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        kept = [key for key in before if _same(before[key], after[key])]
        known = [key for key in kept if _is_scalar(before[key])]
        if not known and any(_is_scalar(before[key]) for key in before.keys() - set(kept)):
            known = [key for key in kept if any(not _same(before[key], one.get(key)) for one in siblings)]
        tests = [_test(_below(path, key), before[key]) for key in known]
        return tests + [step for key in before for step in patch(before[key], after[key], _below(path, key))]
    # A place in a list says nothing about a scalar that stands there.
    scalars = [item for value in (before, after) if isinstance(value, list) for item in value if _is_scalar(item)]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after) and not scalars:
        pairs = enumerate(zip(before, after, strict=True))
        return [step for index, (old, new) in pairs for step in patch(old, new, _below(path, str(index)), before)]
    replace = {"op": "replace", "path": path, "value": after}
    return [replace] if _is_scalar(before) and _is_scalar(after) else [_test(path, before), replace]


def entries(before: dict[str, str], after: dict[str, str], path: str) -> list[Operation]:
    """From one mapping to another that many people write to, as annotations are: each entry on its own."""
    steps: list[Operation] = []
    for key in sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key)):
        at = _below(path, key)
        if key not in after:
            steps += [_test(at, before[key]), {"op": "remove", "path": at}]
        else:
            steps.append({"op": "replace" if key in before else "add", "path": at, "value": after[key]})
    return steps


def done(operations: list[Operation]) -> list[Operation]:
    """Tests that hold once a patch has been applied, and as long as nobody changes what it wrote. That something
    is absent cannot be tested by the letter: where it was removed, they never hold before, and may not after."""
    written = {step["path"]: step.get("value") for step in operations if step["op"] != "test"}
    kept = [step for step in operations if step["path"] not in written]
    return kept + [_test(path, value) for path, value in written.items()]


def _test(path: str, value: Any) -> Operation:
    return {"op": "test", "path": path, "value": value}


def _below(path: str, key: str) -> str:
    return f"{path}/{key.replace('~', '~0').replace('/', '~1')}"


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, dict | list)


def _same(left: Any, right: Any) -> bool:
    """As JSON has it: to Python, 1 and true are equal."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
