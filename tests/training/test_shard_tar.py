"""The tar of a shard is what webdataset's own writer makes, whatever the members are called and hold."""

from pathlib import Path

import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.shard_tar import ShardTar

NAMES = st.text("abc.0ß-", min_size=1, max_size=12).filter(lambda name: not name.startswith("_"))
CONTENTS = st.binary(max_size=1500) | st.sampled_from([b"", bytes(512), bytes(10_240), b"x" * 70_000])
SAMPLES = st.lists(
    st.builds(
        lambda key, members: {"__key__": key, **members},
        st.text("key/ü", min_size=1, max_size=8) | st.sampled_from(["k" * 90, "k" * 99, "k" * 160]),
        st.dictionaries(NAMES, CONTENTS, max_size=4),
    ),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(samples=SAMPLES)
def test_the_bytes_are_those_of_webdataset(samples: list, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder: Path = tmp_path_factory.mktemp("tars")
    with ShardTar(folder / "ours.tar") as ours:
        pieces = [ours.add(sample) for sample in samples]
    with webdataset.TarWriter(str(folder / "stock.tar"), mtime=0, encoder=False) as stock:
        for sample in samples:
            stock.write(sample)
    data = (folder / "ours.tar").read_bytes()
    assert data == (folder / "stock.tar").read_bytes()
    assert [data[start : start + len(piece)] for start, piece in pieces] == [piece for _, piece in pieces]
    assert [start for start, _ in pieces] == [sum(len(p) for _, p in pieces[:n]) for n in range(len(pieces))]
