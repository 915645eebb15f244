"""The base of the models: a copy with changes is what pydantic's own would be."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from pulumi_rollout.core.counts import Arm
from pulumi_rollout.core.model import Frozen

ARM = Arm(total=5, bad=1, counters={"a": 5.0})


@pytest.mark.parametrize("change", [{}, {"total": 6}, {"pods": {"a": (1, 0)}, "at": 3.0}])
def test_a_copy_is_pydantics_own(change: dict[str, object]) -> None:
    ours, its = ARM.model_copy(update=change), BaseModel.model_copy(ARM, update=change)
    assert ours == its
    assert ours.model_fields_set == its.model_fields_set
    assert ours.model_dump_json(exclude_unset=True) == its.model_dump_json(exclude_unset=True)
    assert (ARM.total, ARM.pods) == (5, {})


def test_a_copy_cannot_be_changed_either() -> None:
    with pytest.raises(ValidationError):
        ARM.model_copy(update={"total": 6}).total = 7  # type: ignore[misc]


def test_no_model_has_values_that_a_copy_would_lose() -> None:
    """Extra ones, or private ones: `model_copy` leaves them out."""

    def below(model: type[Frozen]) -> list[type[Frozen]]:
        return [model, *(found for child in model.__subclasses__() for found in below(child))]

    known = below(Frozen)
    assert len(known) > 40
    assert [model for model in known if model.__private_attributes__ or model.model_config["extra"] != "forbid"] == []
