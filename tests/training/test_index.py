"""The index in memory: rows on demand out of columns, as they were written."""

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stage.errors import InputError
from training.data.index import INDEX, IndexRow, IndexRows, read_recipe, read_rows, write_index

ROW = IndexRow("train-000000.tar", "a", 0, 512, "0" * 64, 4, "train", "CC0-1.0", "folder")
words = st.text(st.characters(codec="utf-8"), max_size=12)
whole = st.integers(0, 2**62)
members = st.lists(
    st.tuples(
        st.from_regex(r"[a-z.]{1,8}", fullmatch=True), st.integers(0, 2**31 - 1), st.binary(min_size=8, max_size=8)
    )
)


@st.composite
def index_rows(draw: st.DrawFn) -> IndexRow:
    row = IndexRow(*(draw(words if isinstance(value, str) else whole) for value in list(vars(ROW).values())[:10]))
    listed = draw(members)
    return replace(
        row,
        members="/".join(name for name, *_ in listed),
        sizes=tuple(size for _, size, _ in listed),
        checks=b"".join(check for *_, check in listed),
    )


@given(rows=st.lists(index_rows(), max_size=5))
@settings(max_examples=30, deadline=None)
def test_rows_come_back_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, rows: list[IndexRow]) -> None:
    folder = tmp_path_factory.mktemp("set")
    write_index(folder, rows)
    read = read_rows(folder)
    assert isinstance(read, Sequence)
    assert list(read) == rows == read
    assert [read[number] for number in range(len(read))] == rows
    assert [read[number - len(rows)] for number in range(len(read))] == rows
    assert list(read[1:]) == rows[1:]
    assert pickle.loads(pickle.dumps(read)) == rows
    first = (folder / INDEX).read_bytes()
    write_index(folder, read)
    assert (folder / INDEX).read_bytes() == first


def test_a_row_that_is_not_there(tmp_path: Path) -> None:
    rows = IndexRows.of([ROW])
    for number in (1, -2):
        with pytest.raises(IndexError, match=f"row {number} of 1"):
            rows[number]
    write_index(tmp_path, [])
    assert list(read_rows(tmp_path)) == []
    assert read_rows(tmp_path) != [ROW]


def test_what_a_plan_asks_of_all_rows_at_once() -> None:
    shards = ["a.tar", "a.tar", "b.tar", "c.tar", "c.tar", "c.tar"]
    rows = IndexRows.of(
        replace(ROW, shard=shard, key=str(number), views=number, split="val" if number == 3 else "train")
        for number, shard in enumerate(shards)
    )
    np.testing.assert_array_equal(rows.views, range(6))
    assert rows.samples_of_shards == (2, 1, 3)
    assert rows.shards == ["a.tar", "b.tar", "c.tar"]
    train = rows.of_split("train")
    assert [row.key for row in train] == ["0", "1", "2", "4", "5"]
    assert train.samples_of_shards == (2, 1, 2)
    assert len(rows.of_split("test")) == 0
    assert pickle.loads(pickle.dumps(train)) == train


def test_rows_of_many_chunks_are_found(tmp_path: Path) -> None:
    """As a reader of large files gives them."""
    rows = [replace(ROW, key=str(number), shard=f"{number // 7}.tar", sizes=(number,) * 3) for number in range(50)]
    tables = [IndexRows.of(rows[start : start + 10]).table for start in range(0, 50, 10)]
    together = IndexRows(pa.concat_tables(tables))
    assert [together[number] for number in range(50)] == rows == together


def test_an_index_of_before_members_were_listed_is_read(tmp_path: Path) -> None:
    write_index(tmp_path, [ROW], "recipe")
    table = pq.read_table(tmp_path / INDEX)
    pq.write_table(table.drop_columns(["members", "sizes", "checks", "fingerprint"]), tmp_path / INDEX)
    assert read_rows(tmp_path) == [ROW]
    assert read_recipe(tmp_path) == "recipe"


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("offset", pa.array(["0"])),
        ("key", pa.array([None], pa.string())),
        ("sizes", pa.array([["a"]])),
        ("views", None),
    ],
)
def test_a_column_that_is_not_what_it_should_be(tmp_path: Path, name: str, column: pa.Array | None) -> None:
    write_index(tmp_path, [ROW])
    table = pq.read_table(tmp_path / INDEX)
    place = table.column_names.index(name)
    pq.write_table(
        table.remove_column(place) if column is None else table.set_column(place, name, column), tmp_path / INDEX
    )
    with pytest.raises(InputError, match=rf"{INDEX} is damaged: .*{name}.*; run viewforge shard again") as caught:
        read_rows(tmp_path)
    assert "\n" not in str(caught.value)


def test_texts_with_long_offsets_are_read(tmp_path: Path) -> None:
    write_index(tmp_path, [ROW, replace(ROW, key="b", offset=512)])
    written, table = list(read_rows(tmp_path)), pq.read_table(tmp_path / INDEX)
    long = [field.with_type(pa.large_string()) if field.type == pa.string() else field for field in table.schema]
    pq.write_table(table.cast(pa.schema(long)), tmp_path / INDEX)
    assert list(read_rows(tmp_path)) == written


def test_a_byte_that_was_flipped_in_the_index_is_found_or_means_nothing(tmp_path: Path) -> None:
    rows = [replace(ROW, members="a/b", sizes=(1, 2), checks=b"0123456789abcdef"), replace(ROW, key="b", offset=512)]
    write_index(tmp_path, rows)
    whole, found = (tmp_path / INDEX).read_bytes(), 0
    for place in range(0, len(whole), 29):
        (tmp_path / INDEX).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert list(read_rows(tmp_path)) == rows, f"byte {place} of {len(whole)}"
        except InputError:
            found += 1
    assert found
