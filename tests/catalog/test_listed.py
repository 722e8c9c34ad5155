"""Rows of listed objects: whatever strangers wrote, a table can hold it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.listed import listed_asset, mapping, number, text
from catalog.split import SplitParameters, split_of
from catalog.table import read_table, write_table

SPLIT = SplitParameters()
ANY_TEXT = st.text(st.characters(codec=None), max_size=30)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(ANYTHING)
def test_a_text_is_one_line_that_can_be_written(value: Any) -> None:
    found = text(value)
    assert found.encode().decode() == found
    assert found == " ".join(found.split())
    assert found or not isinstance(value, str) or not value.strip()


@given(ANYTHING)
def test_a_number_fits_its_column(value: Any) -> None:
    found = number(value)
    assert found is None or (found == value and 0 <= found < 2**63)


@settings(deadline=None)
@given(uid=ANY_TEXT, said=ANYTHING, file_type=ANY_TEXT | st.sampled_from(["glb", "obj"]))
def test_any_row_survives_the_table(
    tmp_path_factory: pytest.TempPathFactory, uid: str, said: Any, file_type: str
) -> None:
    row = listed_asset(
        text(uid),
        "objaverse",
        SPLIT,
        file_type=text(file_type),
        sha256=text(said),
        size=number(said) or 0,
        title=text(mapping(said).get("name")),
        faces=number(said),
    )
    path: Path = tmp_path_factory.mktemp("table") / "catalog.parquet"
    write_table(path, [row])
    assert read_table(path) == [row]
    assert row.uid.isascii()
    assert row.uid.isalnum()
    assert row.split == split_of(row.uid, SPLIT)
    assert row.selected == (not row.reason)


def test_what_is_published_is_kept_and_what_is_not_is_unknown() -> None:
    row = listed_asset("a1", "objaverse", SPLIT, file_type="glb", sha256="AB" * 32)
    assert (row.sha256, row.licence, row.author, row.title, row.bytes) == ("ab" * 32, "unknown", "unknown", "a1", 0)
    assert row.selected
    assert listed_asset("a1", "objaverse", SPLIT, file_type="glb", sha256="../../x").sha256 == ""
    assert listed_asset("a1", "objaverse", SPLIT, file_type="").reason == "files of type unknown cannot be imported"
