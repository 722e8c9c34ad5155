"""The catalogue on disk: what was written is read, the same rows give the same bytes, damage is one line."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.table import SPLITS, Asset, read_table, selected_assets, write_table
from stage.errors import InputError
from stage.files import write_text
from stage.packs import object_folder, write_packs
from stage.workspace import Workspace

# Parquet holds UTF-8, which has no lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
assets = st.builds(
    Asset,
    uid=st.from_regex("[0-9a-f]{32}", fullmatch=True),
    source=texts,
    path=texts,
    sha256=texts,
    companions_sha256=texts,
    bytes=st.integers(0, 2**62),
    file_type=texts,
    up_axis=st.sampled_from("YZ"),
    licence=texts,
    author=texts,
    title=texts,
    tags=st.lists(texts, max_size=3).map(tuple),
    split=st.sampled_from(SPLITS),
    selected=st.booleans(),
    reason=texts,
)
DUCK = Asset(
    "d" * 32, "folder", "inputs/duck.glb", "0" * 64, "", 9, "glb", "Y", "CC0-1.0", "", "duck", (), "train", True, ""
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(assets, min_size=1, max_size=4, unique_by=lambda asset: asset.uid))
def test_what_is_written_is_read_in_order_of_uid(rows: list[Asset], tmp_path: Path) -> None:
    write_table(tmp_path / "catalog.parquet", rows)
    first = (tmp_path / "catalog.parquet").read_bytes()
    assert read_table(tmp_path / "catalog.parquet") == sorted(rows, key=lambda asset: asset.uid)
    write_table(tmp_path / "catalog.parquet", rows[::-1])
    assert (tmp_path / "catalog.parquet").read_bytes() == first


def test_the_table_is_readable_without_viewforge(tmp_path: Path) -> None:
    write_table(tmp_path / "catalog.parquet", [replace(DUCK, tags=("bird", "toy"))])
    row = pd.read_parquet(tmp_path / "catalog.parquet").iloc[0]
    assert (row["title"], row["split"], bool(row["selected"]), list(row["tags"])) == (
        "duck",
        "train",
        True,
        ["bird", "toy"],
    )


def test_a_missing_catalogue_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no catalogue .*catalog\.parquet; run viewforge catalog first"):
        read_table(tmp_path / "catalog.parquet")


@pytest.mark.parametrize("damage", ["cut short", "empty", "something else", "other columns", "lacking a column"])
def test_a_damaged_catalogue_is_one_line(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "catalog.parquet"
    write_table(path, [DUCK])
    data = path.read_bytes()
    match damage:
        case "cut short":
            path.write_bytes(data[: len(data) // 2])
        case "empty":
            path.write_bytes(b"")
        case "something else":
            path.write_text("<!DOCTYPE html>")
        case "other columns":
            pd.DataFrame({"uid": ["a"], "tags": [["b"]], "colour": ["red"]}).to_parquet(path)
        case "lacking a column":
            pd.read_parquet(path).drop(columns="tags").to_parquet(path)
    with pytest.raises(InputError) as caught:
        read_table(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("run viewforge catalog again")


def test_only_selected_objects_go_on(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    left_out = replace(DUCK, uid="e" * 32).excluded("too large")
    write_table(workspace.catalog / "catalog.parquet", [DUCK, left_out])
    assert selected_assets(workspace) == [DUCK]
    write_table(workspace.catalog / "catalog.parquet", [left_out])
    with pytest.raises(InputError, match="selects no object; see the column reason"):
        selected_assets(workspace)


def test_composed_objects_come_back_from_their_packs(tmp_path: Path) -> None:
    """As on a machine that pulled the packs and has no scratch space."""
    workspace = Workspace(tmp_path)
    composed = replace(DUCK, source="procedural", path=f"scratch/catalog/{DUCK.uid[:2]}/{DUCK.uid}/asset.glb")
    write_table(workspace.catalog / "catalog.parquet", [composed])
    elsewhere = tmp_path / "elsewhere"
    write_text(object_folder(elsewhere, DUCK.uid) / "asset.glb", "duck")
    write_packs(elsewhere, [DUCK.uid], workspace.catalog, 4)
    (asset,) = selected_assets(workspace)
    assert asset.location(workspace).read_text() == "duck"
