"""Selection: what is left out keeps its row and a reason, whatever the order; a larger number of objects only adds."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.build import build_catalog
from catalog.parameters import CatalogParameters
from catalog.selection import SelectionParameters, select
from catalog.table import Asset, read_table
from stage.errors import InputError, ParameterError
from stage.files import write_text
from stage.parameters import validated
from stage.workspace import Workspace

LICENCES = ("CC-BY-4.0", "CC-BY-NC-4.0", "CC0-1.0", "MIT", "unknown", "somebody's own words")
DUCK = Asset(
    uid="8476c4170df24cf5bbe6967222d1a42d",
    source="objaverse",
    path="duck.glb",
    sha256="0" * 64,
    companions_sha256="",
    bytes=5_000_000,
    file_type="glb",
    up_axis="Y",
    licence="CC-BY-4.0",
    author="a",
    title="duck",
    tags=("Bath Toy", "yellow"),
    split="train",
    selected=True,
    reason="",
    url="https://example.org/duck.glb",
    faces=4_000,
    categories=("rubber_duck",),
)
assets = st.lists(
    st.builds(
        replace,
        st.just(DUCK),
        uid=st.from_regex("[0-9a-f]{32}", fullmatch=True),
        licence=st.sampled_from(LICENCES),
        bytes=st.sampled_from([0, 10, 10_000, 10_000_000]),
        faces=st.sampled_from([None, 10, 10_000]),
        tags=st.sampled_from([(), ("yellow",), ("Bath Toy", "red")]),
        categories=st.sampled_from([(), ("rubber_duck",), ("chair",)]),
        url=st.sampled_from(["", DUCK.url]),
    ),
    max_size=12,
    unique_by=lambda asset: asset.uid,
)
selections = st.builds(
    SelectionParameters,
    licences=st.sampled_from([None, ("by",), ("by", "cc0", "mit"), ("unknown",)]),
    commercial_only=st.booleans(),
    categories=st.sampled_from([None, ("rubber duck",), ("chair", "rubber_duck")]),
    tags=st.sampled_from([None, ("bath_toy",), ("YELLOW",)]),
    min_bytes=st.sampled_from([None, 100]),
    max_bytes=st.sampled_from([None, 1_000_000]),
    max_faces=st.sampled_from([None, 1_000]),
    max_objects=st.sampled_from([None, 1, 3, 100]),
)
HERE = Workspace(Path())
several = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def reason(asset: Asset = DUCK, workspace: Workspace = HERE, **parameters: object) -> str:
    """Why an object is left out; empty when it is not."""
    (judged,) = select([asset], SelectionParameters.model_validate(parameters), 0, workspace)
    assert judged.selected == (not judged.reason)
    return judged.reason


def kept(rows: list[Asset]) -> set[str]:
    return {asset.uid for asset in rows if asset.selected}


@several
@given(rows=assets, parameters=selections, seed=st.integers(0, 3))
def test_nothing_vanishes_and_every_exclusion_has_its_reason(
    rows: list[Asset], parameters: SelectionParameters, seed: int
) -> None:
    judged = select(rows, parameters, seed, HERE)
    assert [replace(asset, selected=True, reason="") for asset in judged] == rows
    assert all(asset.selected == (asset.reason == "") for asset in judged)


@several
@given(rows=assets, parameters=selections, order=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(
    rows: list[Asset], parameters: SelectionParameters, order: random.Random
) -> None:
    shuffled = order.sample(rows, len(rows))
    by_uid = {asset.uid: asset for asset in select(rows, parameters, 0, HERE)}
    assert {asset.uid: asset for asset in select(shuffled, parameters, 0, HERE)} == by_uid


@several
@given(rows=assets, parameters=selections, count=st.integers(1, 12), seed=st.integers(0, 3))
def test_a_larger_number_only_adds_objects(
    rows: list[Asset], parameters: SelectionParameters, count: int, seed: int
) -> None:
    fewer = kept(select(rows, parameters.model_copy(update={"max_objects": count}), seed, HERE))
    more = kept(select(rows, parameters.model_copy(update={"max_objects": count + 1}), seed, HERE))
    every = kept(select(rows, parameters.model_copy(update={"max_objects": None}), seed, HERE))
    assert fewer <= more <= every
    assert len(fewer) == min(count, len(every))


@several
@given(rows=assets, parameters=selections)
def test_selecting_again_changes_nothing(rows: list[Asset], parameters: SelectionParameters) -> None:
    once = select(rows, parameters, 0, HERE)
    assert select(once, parameters, 0, HERE) == once


def test_another_seed_draws_other_objects() -> None:
    rows = [replace(DUCK, uid=f"{number:032x}") for number in range(100)]
    drawn = [frozenset(kept(select(rows, SelectionParameters(max_objects=10), seed, HERE))) for seed in range(3)]
    assert len(set(drawn)) == 3


def test_by_default_everything_is_kept() -> None:
    assert reason() == ""


@pytest.mark.parametrize(
    ("parameters", "changes", "expected"),
    [
        ({"licences": ["cc0"]}, {}, "licence CC-BY-4.0 is not among cc0"),
        ({"licences": ["by", "cc0"]}, {"licence": "by"}, ""),
        ({"licences": ["CC-BY-4.0"]}, {"licence": "CC-BY-3.0"}, "licence CC-BY-3.0 is not among CC-BY-4.0"),
        ({"licences": ["unknown"]}, {"licence": "his own words"}, ""),
        ({"licences": ["by"]}, {"licence": "his own words"}, "licence unknown is not among by"),
        ({"commercial_only": True}, {}, ""),
        (
            {"commercial_only": True},
            {"licence": "by-nc-sa"},
            "licence CC-BY-NC-SA-4.0 does not allow commercial use",
        ),
        ({"commercial_only": True}, {"licence": "?"}, "licence unknown, so commercial use may not be allowed"),
        ({"categories": ["Rubber Duck"]}, {}, ""),
        ({"categories": ["chair", "sofa"]}, {}, "no category among chair, sofa"),
        ({"tags": ["bath toy"]}, {}, ""),
        ({"tags": ["rubber_duck"]}, {}, "no tag among rubber_duck"),
        ({"tags": list("abcdefghij")}, {}, "no tag among a, b, c, d, e, f, g, h and 2 more"),
        ({"max_bytes": 5_000_000}, {}, ""),
        ({"max_bytes": 4_999_999}, {}, "5000000 bytes, over the limit of 4999999"),
        ({"min_bytes": 5_000_001}, {}, "5000000 bytes, under the limit of 5000001"),
        ({"min_bytes": 1}, {"bytes": 0}, ""),
        ({"min_bytes": 1}, {"bytes": 0, "url": ""}, "0 bytes, under the limit of 1"),
        ({"max_faces": 3_999}, {}, "4000 faces, over the limit of 3999"),
        ({"max_faces": 1}, {"faces": None}, ""),
        ({"licences": ["cc0"], "max_bytes": 1}, {}, "licence CC-BY-4.0 is not among cc0"),
    ],
)
def test_each_filter_says_why(parameters: dict[str, object], changes: dict[str, object], expected: str) -> None:
    assert reason(replace(DUCK, **changes), **parameters) == expected


def test_lists_keep_and_leave_out_by_uid_or_sum(tmp_path: Path) -> None:
    write_text(tmp_path / "inputs" / "lists" / "good.json", json.dumps({"duck": [DUCK.uid]}))
    write_text(tmp_path / "inputs" / "lists" / "sums.txt", "0" * 64)
    workspace = Workspace(tmp_path)
    other = replace(DUCK, uid="1" * 32, sha256="1" * 64)
    assert reason(DUCK, workspace, uids="good.json") == ""
    assert reason(other, workspace, uids="good.json") == "not on the list good.json"
    assert reason(DUCK, workspace, uids="sums.txt") == ""
    assert reason(DUCK, workspace, exclude_uids="good.json") == "on the list good.json of objects to leave out"
    assert reason(other, workspace, exclude_uids="sums.txt") == ""
    assert (
        reason(DUCK, Workspace(tmp_path / "elsewhere"), lists=str(tmp_path / "inputs/lists"), uids="good.json") == ""
    )


def test_what_the_source_left_out_stays_left_out_for_its_reason() -> None:
    copy = DUCK.excluded("same bytes as duck.obj")
    assert reason(copy, licences=["cc0"], max_objects=1) == "same bytes as duck.obj"


def test_a_missing_list_loses_no_catalogue(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_text(tmp_path / "inputs" / "objects" / "a.obj", "v 0 0 0")
    parameters = CatalogParameters(source="folder")
    build_catalog(parameters, 0, workspace)
    before = (workspace.catalog / "catalog.parquet").read_bytes()
    broken = parameters.model_copy(update={"selection": SelectionParameters(uids="gone.txt")})
    with pytest.raises(InputError, match=r"no list of objects .*gone\.txt"):
        build_catalog(broken, 0, workspace)
    assert (workspace.catalog / "catalog.parquet").read_bytes() == before


def test_the_catalogue_keeps_the_rows_that_are_left_out(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for name in ("a", "b"):
        write_text(tmp_path / "inputs" / "objects" / f"{name}.obj", f"# {name}")
    build_catalog(CatalogParameters(source="folder", selection=SelectionParameters(max_objects=1)), 0, workspace)
    rows = read_table(workspace.catalog / "catalog.parquet")
    assert sorted(asset.reason for asset in rows) == ["", "not among the 1 objects that were drawn"]


def test_a_file_over_the_size_limit_is_left_out_and_says_so(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_text(tmp_path / "inputs" / "objects" / "large.obj", "#" * 11)
    write_text(tmp_path / "inputs" / "objects" / "small.obj", "#" * 10)
    rows = build_catalog(CatalogParameters(source="folder", selection=SelectionParameters(max_bytes=10)), 0, workspace)
    reasons = {asset.title: asset.reason for asset in rows}
    assert reasons == {"large.obj": "11 bytes, over the limit of 10", "small.obj": ""}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"licences": ["bye"]}, "bye is no licence; such are by, by-sa, cc0"),
        ({"licences": []}, "at least 1"),
        ({"uids": "../elsewhere.txt"}, "must be a file of the folder catalog.selection.lists"),
        ({"exclude_uids": "/etc/passwd"}, "must be a file of the folder catalog.selection.lists"),
        ({"max_objects": 0}, "greater than or equal to 1"),
        ({"license": ["by"]}, "did you mean licences?"),
    ],
)
def test_a_mistaken_parameter_is_one_line(values: dict[str, object], words: str) -> None:
    with pytest.raises(ParameterError) as caught:
        validated(SelectionParameters, values, "params.yaml: catalog.selection")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
