"""Trap 23, secrets: read plain, hashed with a key, shown by nothing, and marked wherever they go."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pytest

from components import revision as revision_module
from components import secrets as module
from components import stack_secret
from components.secrets import Secret, stack_salt
from pulumi_rollout.provider import RolloutProvider
from tests.components.declared import ROLLOUT, SECRET, Declared, Hidden, declare, rendered, shop

PLAIN = "hidden-token"
CONFIG = {"rollouts:token": PLAIN}


def program(**changes: Any) -> Any:
    def run() -> Any:
        return shop(secrets={"TOKEN": stack_secret("token")}, **changes)()

    return run


def written(declared: Declared) -> str:
    """All inputs of all resources as the state would show them: what is marked is encrypted there."""

    def shown(value: Any) -> Any:
        if isinstance(value, Hidden):
            return "[secret]"
        if isinstance(value, dict):
            return {key: shown(item) for key, item in value.items()}
        return [shown(item) for item in value] if isinstance(value, list) else value

    return json.dumps([shown(item.inputs) for item in declared])


def check_nowhere_in_plain(declared: Declared) -> None:
    assert PLAIN not in written(declared)
    data = declared.of(SECRET).inputs["stringData"]
    assert data == Hidden({"TOKEN": PLAIN}) or data == {"TOKEN": Hidden(PLAIN)}


@pytest.mark.parametrize("named", [{}, {"revision": "v2"}], ids=["by its hash", "by its own name"])
def test_trap_23_a_secret_is_in_plain_in_no_resource(named: dict[str, Any]) -> None:
    check_nowhere_in_plain(declare(program(**named), config=CONFIG))


def test_trap_23_without_the_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revision_module.pulumi.Output, "secret", pulumi.Output.from_input)
    with pytest.raises(AssertionError):
        check_nowhere_in_plain(declare(program(), config=CONFIG))


def with_credentials() -> Any:
    return shop(credentials={"prom": stack_secret("token")})()


def check_credentials_nowhere_in_plain(declared: Declared) -> None:
    assert PLAIN not in written(declared)
    given = declared.of(ROLLOUT).inputs["credentials"]
    assert given == Hidden({"prom": PLAIN}) or given == {"prom": Hidden(PLAIN)}


def test_trap_23_a_credential_is_an_input_of_the_rollout_alone_and_hidden() -> None:
    declared = declare(with_credentials, config=CONFIG)
    check_credentials_nowhere_in_plain(declared)
    assert [item.type for item in declared if PLAIN in str(item.inputs)] == [ROLLOUT]


def test_trap_23_without_the_mark_of_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revision_module.pulumi.Output, "secret", pulumi.Output.from_input)
    with pytest.raises(AssertionError):
        check_credentials_nowhere_in_plain(declare(with_credentials, config=CONFIG))


def test_a_credential_names_no_revision() -> None:
    """A token that is rotated is no release."""
    names = {
        str(declare(with_credentials, config={"rollouts:token": value}).of(ROLLOUT).inputs["revision"]["hash"])
        for value in ("one", "another")
    }
    assert len(names) == 1


def test_trap_23_nor_in_what_the_provider_adds() -> None:
    inputs = declare(program(), config=CONFIG).of(ROLLOUT).inputs
    inputs["cluster"] = {"kubeconfig": "04da6b54-80e4-46f7-96ec-b56ff0331ba9"}  # not known: nothing is asked
    assert PLAIN not in str(RolloutProvider().check({}, inputs).inputs)


def check_masked(secret: Any) -> None:
    assert PLAIN not in f"{secret!r} {secret} {[secret]} {{'a': {secret}}}"


def test_trap_23_its_repr_is_masked() -> None:
    check_masked(Secret(PLAIN))
    assert repr(Secret(PLAIN)) == "Secret(***)"
    check_masked(rendered(secrets={"TOKEN": Secret(PLAIN)}))


def test_trap_23_without_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Secret, "__repr__", lambda self: f"Secret({self.value})")
    with pytest.raises(AssertionError):
        check_masked(Secret(PLAIN))


def check_keyed(one: str, other: str) -> None:
    """Who reads the name of a revision cannot test guesses of the secret without the salt."""
    assert Secret(PLAIN).fingerprint(one) != Secret(PLAIN).fingerprint(other)


def test_trap_23_the_fingerprint_is_keyed() -> None:
    check_keyed("/acme/rollouts/live", "/acme/rollouts/test")
    assert Secret("a").fingerprint("x") != Secret("b").fingerprint("x")
    assert Secret("a").fingerprint("x") == Secret("a").fingerprint("x")
    # hmac-sha256(key "salt", "value"), by `printf value | openssl dgst -sha256 -hmac salt`
    golden = "aaf15d64f29e7a06f6a3e5581fa216df16433dd089f43f9e7fb5fa82471e273b"
    assert Secret("value").fingerprint("salt") == golden


def test_trap_23_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Secret, "fingerprint", lambda self, salt: module.hashlib.sha256(b"x").hexdigest())
    with pytest.raises(AssertionError):
        check_keyed("/acme/rollouts/live", "/acme/rollouts/test")


def revision_of(config: dict[str, str]) -> str:
    return str(declare(program(), config=config).of(ROLLOUT).inputs["revision"]["hash"])


def test_another_value_or_salt_is_another_revision() -> None:
    names = [
        revision_of(CONFIG),
        revision_of({"rollouts:token": "another"}),
        revision_of({**CONFIG, "rollouts:rolloutSalt": "pepper"}),
    ]
    assert len(set(names)) == 3
    assert revision_of(CONFIG) == names[0]


def test_the_salt_is_the_stacks_own() -> None:
    salts: list[str] = []
    declare(lambda: salts.append(stack_salt()))
    declare(lambda: salts.append(stack_salt()), config={"rollouts:rolloutSalt": "pepper"})
    assert salts == ["/acme/rollouts/live", "pepper/acme/rollouts/live"]


def test_a_secret_of_another_namespace() -> None:
    found: list[Secret] = []
    declare(lambda: found.append(stack_secret("shared:token")), config={"shared:token": PLAIN})
    assert found == [Secret(PLAIN)]


def test_a_secret_that_is_not_set() -> None:
    with pytest.raises(pulumi.RunError) as caught:
        declare(lambda: stack_secret("token"))
    assert str(caught.value) == ("the stack has no secret token: set it with `pulumi config set --secret token`")
