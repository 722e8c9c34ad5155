"""What decides the trained weights has a fingerprint; what does not leaves it as it is."""

from typing import Any

import pytest

from training import provenance as provenance_module
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


def test_how_much_is_prompted_ahead_and_kept_changes_no_weight() -> None:
    def of(**prompts: int) -> str:
        return fingerprint(system="cascade_zero123", cascade_zero123={"prompts": prompts})

    assert of(look_ahead=3, cache_bytes=0) == of()
    assert of(inference_steps=3) != of()


@pytest.mark.parametrize(
    ("values", "renders"),
    [
        ({"system": "zero_1_to_g"}, True),
        ({"system": "zero_1_to_g_grid"}, True),
        # The denoiser's stage learns of no splatter images, and of their renderings all the same.
        ({"system": "zero_1_to_g_grid", "zero_1_to_g_grid": {"loss": {"lambda_splatter": 0.0}}}, True),
        ({"system": "zero123"}, False),
        ({"system": "zeronvs"}, False),
    ],
)
def test_the_rasteriser_counts_where_the_system_renders(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], renders: bool
) -> None:
    counted: list[str] = []
    monkeypatch.setattr(provenance_module, "source_fingerprint", lambda names: counted.extend(names) or "")
    fingerprint(**values)
    # What the renderer evaluates, and what the loss composites and compares.
    for name in ("rasterizer", "gaussians", "spherical_harmonics", "picture_losses", "perceptual"):
        assert (f"geometry.{name}" in counted) == renders
    # Cameras decide what every system is told.
    assert {"training.engine", "geometry.cameras"} <= set(counted)
