"""Parameters: a mistake is one line that names the place, the key and the nearest valid key."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from stage.errors import InputError, ParameterError
from stage.parameters import (
    Parameters,
    load_section,
    load_seed,
    merged,
    overridden,
    read_parameters,
    validated,
)


class Quality(Parameters):
    """How well."""

    samples: int = Field(default=16, ge=1)
    denoise: bool = True


class Render(Parameters):
    """What."""

    resolution: int = Field(default=64, ge=8)
    quality: Quality = Quality()


class Sheet(Parameters):
    """Which pictures."""

    pictures: tuple[Quality, ...] = ()
    columns: int = 1


def refusal(values: Any) -> str:
    with pytest.raises(ParameterError) as caught:
        validated(Render, values, "params.yaml: render")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def parameter_file(folder: Path, text: str) -> Path:
    (folder / "params.yaml").write_text(text)
    return folder / "params.yaml"


def test_what_is_not_given_has_its_default(tmp_path: Path) -> None:
    path = parameter_file(tmp_path, "render: {quality: {samples: 4}}")
    assert load_section(path, "render", Render) == Render(quality=Quality(samples=4))
    assert load_section(path, "absent", Render) == Render()


def test_an_unknown_key_names_the_nearest_valid_one() -> None:
    assert refusal({"resolutoin": 64}) == "unknown parameter params.yaml: render.resolutoin; did you mean resolution?"


def test_an_unknown_nested_key_names_the_nearest_valid_one_of_its_own_section() -> None:
    message = "unknown parameter params.yaml: render.quality.sample; did you mean samples?"
    assert refusal({"quality": {"sample": 4}}) == message


def test_an_unknown_key_in_a_list_names_the_nearest_valid_one_of_its_element() -> None:
    with pytest.raises(ParameterError) as caught:
        validated(Sheet, {"pictures": [{}, {"sample": 4}]}, "sheet")
    assert str(caught.value) == "unknown parameter sheet.pictures.1.sample; did you mean samples?"


def test_an_unknown_key_far_from_all_lists_them() -> None:
    assert refusal({"zzz": 1}).endswith("valid keys are quality, resolution")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"resolution": "large"}, "params.yaml: render.resolution = 'large'"),
        ({"resolution": 7}, "render.resolution = 7: input should be greater than or equal to 8"),
        ({"quality": {"samples": None}}, "render.quality.samples = None"),
        ({"quality": 3}, "render.quality = 3"),
        (["resolution"], "params.yaml: render = ['resolution']"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(values: Any, named: str) -> None:
    assert named in refusal(values)


@settings(deadline=None)
@given(
    values=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(["resolution", "quality", "samples", "denoise", "other"]), inner)
        ),
        max_leaves=6,
    )
)
def test_any_value_is_valid_or_refused_in_one_line(values: Any) -> None:
    try:
        validated(Render, values, "place")
    except ParameterError:
        refusal(values)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no parameter file .*params\.yaml; .*--workspace"):
        read_parameters(tmp_path / "params.yaml")


@pytest.mark.parametrize("content", [b"render: [1", b"just words", b"- a list", b"", b"\xff\xfe\xfa", b"a: \x01"])
def test_a_file_that_holds_no_sections_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(ParameterError) as caught:
        read_parameters(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_section_is_the_default(tmp_path: Path) -> None:
    assert load_section(parameter_file(tmp_path, "render:\n"), "render", Render) == Render()


@pytest.mark.parametrize("section", ["false", "0", "[]", "''"])
def test_a_section_that_is_none_is_refused(section: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="render = "):
        load_section(parameter_file(tmp_path, f"render: {section}"), "render", Render)


def test_the_seed_is_read_and_zero_without_one(tmp_path: Path) -> None:
    assert load_seed(parameter_file(tmp_path, "seed: 7")) == 7
    assert load_seed(parameter_file(tmp_path, "render: {}")) == 0


@pytest.mark.parametrize("seed", ["-1", "true", "1.5", "many", "null"])
def test_a_seed_that_is_no_whole_number_is_refused(seed: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"seed is .*; give a whole number"):
        load_seed(parameter_file(tmp_path, f"seed: {seed}"))


def test_assignments_are_laid_over_a_copy() -> None:
    values = {"render": {"resolution": 64, "views": 12}}
    assert overridden(values, ["render.resolution=32", "render.quality.samples=4", "seed=1"]) == {
        "render": {"resolution": 32, "views": 12, "quality": {"samples": 4}},
        "seed": 1,
    }
    assert values == {"render": {"resolution": 64, "views": 12}}


def test_an_assigned_value_is_read_as_yaml() -> None:
    assignments = ["a.list=[1, 2]", "a.nothing=null", "a.word=cpu", "a.text=x=y", "a.empty="]
    assert overridden({}, assignments)["a"] == {
        "list": [1, 2],
        "nothing": None,
        "word": "cpu",
        "text": "x=y",
        "empty": None,
    }


def test_an_empty_section_can_be_assigned_into() -> None:
    assert overridden({"render": None}, ["render.resolution=32"]) == {"render": {"resolution": 32}}


@pytest.mark.parametrize("assignment", ["render.resolution", "seed.run=1", "a=[1", "a=b: c: d", "=5", "a..b=1", ".=1"])
def test_an_assignment_that_cannot_be_read_is_one_line(assignment: str) -> None:
    with pytest.raises(ParameterError) as caught:
        overridden({"seed": 0}, [assignment])
    assert repr(assignment) in str(caught.value)
    assert "\n" not in str(caught.value)


sections = st.dictionaries(
    st.sampled_from("abc"), st.integers() | st.dictionaries(st.sampled_from("xyz"), st.integers())
)


@settings(deadline=None)
@given(base=sections, override=sections)
def test_merged_takes_the_override_where_it_speaks_and_the_base_elsewhere(
    base: dict[str, Any], override: dict[str, Any]
) -> None:
    result = merged(base, override)
    assert set(result) == set(base) | set(override)
    for key, value in override.items():
        if isinstance(value, dict):
            assert value.items() <= result[key].items()
        else:
            assert result[key] == value
    for key in set(base) - set(override):
        assert result[key] == base[key]
    assert merged(base, {}) == base


def test_merged_goes_down_into_sections_and_changes_neither() -> None:
    base, override = {"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}
    assert merged(base, override) == {"a": {"x": 1, "y": 3}}
    assert (base, override) == ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}})
