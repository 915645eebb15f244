"""The lab that the tests of this folder share: bringing one up costs more than most tests do.

Lives here: that lab. A test that breaks a lab makes one of its own; the others use names of their own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab import cluster


@pytest.fixture(scope="package")
def whole() -> Iterator[cluster.Lab]:
    """A lab with all its parts."""
    name = f"test-{os.getpid()}"
    try:
        yield cluster.up(name)
    finally:
        cluster.down(name)
