"""Secrets from the stack's configuration, readable enough to name a revision by its content.

A revision is named while the program runs, so a secret must be a plain string then. Here it is one
that masks itself; in the revision's hash it is a keyed HMAC; in resources it is a Pulumi secret.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

import pulumi


@dataclass(frozen=True)
class Secret:
    """A secret string. Its repr does not show it."""

    value: str

    def __repr__(self) -> str:
        return "Secret(***)"

    def fingerprint(self, salt: str) -> str:
        """Changes with the value. Who knows the salt can test guesses, so a weak secret wants one of its own
        (`rolloutSalt`)."""
        return hmac.new(salt.encode(), self.value.encode(), hashlib.sha256).hexdigest()


def stack_secret(key: str) -> Secret:
    """A secret of the stack's configuration, by key (`name`, or `namespace:name`).

    Raises pulumi.RunError when the stack has none.
    """
    full = key if ":" in key else f"{pulumi.get_project()}:{key}"
    value = pulumi.runtime.get_config(full)
    if value is None:
        raise pulumi.RunError(f"the stack has no secret {key}: set it with `pulumi config set --secret {key}`")
    return Secret(str(value))


def stack_salt() -> str:
    """What fingerprints are keyed with: `<project>:rolloutSalt` if set, and always the stack's own name."""
    chosen = pulumi.runtime.get_config(f"{pulumi.get_project()}:rolloutSalt") or ""
    return f"{chosen}/{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
