"""Quality presets: named values, each of which may be given by itself."""

import pytest

from blender_render.parameters import QualityParameters, RenderParameters
from stage.errors import ParameterError
from stage.parameters import validated


def test_a_preset_sets_what_is_not_given() -> None:
    fast = QualityParameters(preset="fast")
    assert fast.crop
    assert fast.samples < QualityParameters(preset="standard").samples < QualityParameters(preset="reference").samples
    overridden = QualityParameters(preset="fast", samples=3)
    assert overridden.samples == 3
    assert overridden.model_copy(update={"samples": fast.samples}) == fast


def test_the_reference_is_what_is_published() -> None:
    reference = QualityParameters(preset="reference")
    assert (reference.samples, reference.transparent_bounces, reference.denoise) == (128, 3, True)
    assert (reference.denoiser_quality, reference.denoiser_prefilter) == ("high", "accurate")


@pytest.mark.parametrize("preset", [None, "fast", "standard", "reference"])
def test_parameters_survive_their_own_dump(preset: str | None) -> None:
    """A job carries them as JSON, every value spelled out."""
    quality = QualityParameters.model_validate({"preset": preset, "least_samples": 5})
    assert QualityParameters.model_validate(quality.model_dump()) == quality


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"quality\.preset = 'quick'"):
        validated(RenderParameters, {"quality": {"preset": "quick"}}, "render")
    with pytest.raises(ParameterError, match=r"passes\.0 = 'dept'"):
        validated(RenderParameters, {"passes": ["dept"]}, "render")
