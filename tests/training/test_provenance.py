"""What decides the trained weights has a fingerprint; what does not leaves it as it is."""

from typing import Any

import pytest

from training.data.mixture import Mixed
from training.data.plan import Plan
from training.parameters import TrainParameters
from training.provenance import provenance

PLAN = Plan((Mixed("objects", 8),), batch_size=4, seed=0)


def fingerprint(**values: Any) -> str:
    return str(provenance(TrainParameters.model_validate(values), 0, PLAN, {"objects": "0"})["fingerprint"])


@pytest.mark.parametrize("system", ["zero123", "zeronvs", "cascade_zero123"])
def test_the_section_of_the_trained_system_counts_and_no_other(system: str) -> None:
    plain = fingerprint(system=system)
    for section in ("zero123", "zeronvs", "cascade_zero123"):
        changed = fingerprint(system=system, **{section: {"dropout": 0.1}})
        assert (changed != plain) == (section == system)


def test_two_systems_of_the_same_parameters_are_two_trainings() -> None:
    assert len({fingerprint(system=system) for system in ("zero123", "zeronvs", "cascade_zero123")}) == 3
