"""Property bags: gRPC structs, secrets, unknowns, and the shape of what Pulumi keeps in its state.

Lives here: pure functions from data to data. No I/O and no gRPC service.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any

from google.protobuf import struct_pb2

Object = dict[str, Any]

# How Pulumi's wire format marks what is not known yet, one constant a type, and what is secret.
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
UNKNOWNS = frozenset(
    (
        UNKNOWN,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    )
)
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"

INPUTS, API_VERSION, FIELD_MANAGER = "__inputs", "__initialApiVersion", "__fieldManager"
# Groups whose quantities the API server respells; custom resources are kept as they were written.
_QUANTITY_GROUPS = frozenset(("v1", "apps/v1", "batch/v1"))
READ_ONLY_METADATA = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "uid",
)


@dataclass(frozen=True)
class Secret:
    """A value that Pulumi encrypts in its state and hides in its output."""

    value: Any

    def __repr__(self) -> str:
        return "Secret(***)"


def from_struct(struct: struct_pb2.Struct) -> Object:
    """The property bag of a request; whole numbers become int, as Kubernetes wants them."""
    return {key: _from_value(value) for key, value in struct.fields.items()}


def _from_value(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            fields = value.struct_value.fields
            if SIGNATURE in fields and fields[SIGNATURE].string_value == SECRET:
                return Secret(_from_value(fields["value"]))
            return from_struct(value.struct_value)
        case "list_value":
            return [_from_value(item) for item in value.list_value.values]
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def to_struct(properties: Object, keep_secrets: bool = True) -> struct_pb2.Struct:
    """The wire form of a property bag. Without keep_secrets, secrets are sent as plain values."""
    struct = struct_pb2.Struct()
    struct.update(_wire(properties, keep_secrets))
    return struct


def _wire(value: Any, keep_secrets: bool) -> Any:
    if isinstance(value, Secret):
        inner = _wire(value.value, keep_secrets)
        return {SIGNATURE: SECRET, "value": inner} if keep_secrets else inner
    if isinstance(value, dict):
        return {key: _wire(item, keep_secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_wire(item, keep_secrets) for item in value]
    return value


def plain(value: Any) -> Any:
    """The same data without secret marks and nulls, with `x-kubernetes-` keys as the API spells them."""
    if isinstance(value, Secret):
        return plain(value.value)
    if isinstance(value, dict):
        return {
            key.replace("_", "-") if key.startswith("x_kubernetes_") else key: plain(item)
            for key, item in value.items()
            if item is not None
        }
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def _sdk_keys(value: Any) -> Any:
    """The inverse of plain's renaming: SDKs know these keys with underscores."""
    if isinstance(value, dict):
        return {
            key.replace("-", "_") if key.startswith("x-kubernetes-") else key: _sdk_keys(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_sdk_keys(item) for item in value]
    return value


def has_secret(value: Any) -> bool:
    if isinstance(value, dict):
        return any(has_secret(item) for item in value.values())
    if isinstance(value, list):
        return any(has_secret(item) for item in value)
    return isinstance(value, Secret)


def is_unknown(value: Any) -> bool:
    return isinstance(value, str) and value in UNKNOWNS


def has_unknown(value: Any) -> bool:
    if isinstance(value, dict):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)
    return is_unknown(value)


def mark_secrets(outputs: Object, inputs: Object) -> None:
    """Mark in outputs whatever inputs hold as secret; a Kubernetes Secret's data always is."""
    if outputs.get("kind") == "Secret":
        for key in ("data", "stringData"):
            if key in outputs and not isinstance(outputs[key], Secret):
                outputs[key] = Secret(outputs[key])
        return
    for key, given in inputs.items():
        if key not in outputs:
            continue
        if isinstance(outputs[key], dict) and isinstance(given, dict):
            mark_secrets(outputs[key], given)
        elif not isinstance(outputs[key], Secret) and has_secret(given):
            outputs[key] = Secret(outputs[key])


def checkpoint(inputs: Object, live: Object, given: Object, api_version: str, manager: str) -> Object:
    """What Pulumi saves: the live object, with our inputs and the field manager beside it."""
    outputs, saved = _sdk_keys(live), _sdk_keys(inputs)
    mark_secrets(outputs, given)
    mark_secrets(saved, given)
    return {**outputs, INPUTS: saved, API_VERSION: api_version, FIELD_MANAGER: manager}


def parse_checkpoint(state: Object) -> tuple[Object, Object]:
    """The inputs and the live object out of a saved state, without secret marks."""
    live = plain(state)
    inputs = live.pop(INPUTS, {})
    live.pop(API_VERSION, None)
    live.pop(FIELD_MANAGER, None)
    return inputs, live


def prune(source: Any, shape: Any) -> Any:
    """Those parts of source that shape names too: live state without what the cluster added."""
    if isinstance(source, dict) and isinstance(shape, dict):
        return {key: prune(item, shape[key]) for key, item in source.items() if key in shape}
    if isinstance(source, list) and isinstance(shape, list):
        return [prune(item, like) for item, like in zip(source, shape, strict=False)]
    return source


def metadata(obj: Object) -> Object:
    """The object's metadata; empty where it is missing or unknown."""
    found = obj.get("metadata")
    return found if isinstance(found, dict) else {}


def annotation(obj: Object, key: str) -> str:
    """The value of the annotation `pulumi.com/<key>`, or ""."""
    found = metadata(obj).get("annotations")
    return str(found.get(f"pulumi.com/{key}", "")) if isinstance(found, dict) else ""


def normalize(obj: Object) -> Object:
    """Spell inputs as the API server will answer them, so that equal meanings make no diff."""
    if has_unknown(obj):
        result = dict(obj)
    else:
        result = _quantities(obj) if obj.get("apiVersion") in _QUANTITY_GROUPS else dict(obj)
        if obj.get("apiVersion") == "v1" and obj.get("kind") == "Secret" and obj.get("stringData"):
            given = {key: base64.b64encode(str(item).encode()).decode() for key, item in obj["stringData"].items()}
            result["data"] = {**result.get("data", {}), **given}
            del result["stringData"]
    if isinstance(result.get("metadata"), dict):
        kept = result["metadata"].items()
        result["metadata"] = {key: item for key, item in kept if key not in READ_ONLY_METADATA}
    return result


def _quantities(value: Any, inside: bool = False) -> Any:
    if isinstance(value, dict):
        return {
            key: _quantities(item, inside or key in ("requests", "limits", "hard", "capacity"))
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_quantities(item) for item in value]
    if inside and isinstance(value, str | int | float) and not isinstance(value, bool):
        return quantity(str(value))
    return value


def quantity(text: str) -> str:
    """The API server's own spelling of a resource quantity: 0.5 -> 500m, 1024Mi -> 1Gi."""
    found = re.fullmatch(r"([+-]?[0-9.]+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|)", text)
    if not found:
        return text
    units = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei") if found[2].endswith("i") else ("k", "M", "G", "T", "P", "E")
    base = 1024 if found[2].endswith("i") else 1000
    try:
        number = Decimal(found[1])
    except InvalidOperation:
        return text
    if found[2] == "m":
        number /= 1000
    elif found[2]:
        number *= base ** (units.index(found[2]) + 1)
    if number != int(number):
        return f"{int((number * 1000).to_integral_value(ROUND_CEILING))}m"
    whole, unit = int(number), ""
    for name in units:
        if whole == 0 or whole % base:
            break
        whole, unit = whole // base, name
    return f"{whole}{unit}"


def decoded(text: str) -> bytes:
    """The bytes of a base64 field of a kubeconfig."""
    try:
        return base64.b64decode(text)
    except binascii.Error as error:
        raise ValueError("not base64") from error
