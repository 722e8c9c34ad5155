"""Shards written elsewhere: into other folders and object stores, through failures, second writers and rewriting."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
import webdataset
from object_store import ObjectStore, door_of, empty_bucket, reach, s3_server
from shard_sets import QUICK
from shard_support import SMALL, render_anew, render_only

from catalog.attribution import shard_objects
from evaluation.shards import TrainingShards
from stage.errors import InputError, ViewforgeError
from stage.files import folder_sha256
from stage.location import LOCATION
from stage.workspace import Workspace
from training.data.index import INDEX, TOMBSTONES, read_rows
from training.data.reader import ShardReader
from training.data.shard_parameters import ShardParameters
from training.data.shard_store import StreamError
from training.data.stats import count
from training.data.verify import verify
from training.data.writer import write_shards
from training.data.writer_lock import LOCK
from training.data.zero123_export import export_zero123

RenderBoxes = Callable[..., Workspace]
ALL = tuple(f"{number:02d}train" for number in range(7))
URL = "s3://sets/deep/shards"


@pytest.fixture(scope="session")
def rendered(render_boxes: RenderBoxes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_boxes(tmp_path_factory.mktemp("places") / "rendered", train=7).root


@pytest.fixture
def workspace(rendered: Path, tmp_path: Path) -> Workspace:
    """Seven rendered objects, none in shards."""
    return Workspace(Path(shutil.copytree(rendered, tmp_path / "workspace")))


@pytest.fixture
def here(rendered: Path, tmp_path: Path) -> Workspace:
    """The same, whose shards are in its own folder."""
    return Workspace(Path(shutil.copytree(rendered, tmp_path / "here")))


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    with s3_server() as behind:
        yield behind


@pytest.fixture
def store(server: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An object store with an empty bucket `sets`."""
    with door_of(server) as door:
        reach(door, monkeypatch)
        empty_bucket("sets")
        yield door


def at(root: str, **changes: object) -> ShardParameters:
    """Two objects a shard, somewhere."""
    return SMALL.model_copy(update={"output_root": root, **changes})


def objects(prefix: str = "deep/shards/") -> dict[str, bytes]:
    """What is in the bucket, by the name below a prefix."""
    found = boto3.resource("s3").Bucket("sets").objects.all()
    return {each.key.removeprefix(prefix): each.get()["Body"].read() for each in found}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write(parameters: ShardParameters, workspace: Workspace, compact: bool = False):
    return write_shards(parameters, workspace, compact, QUICK)


@pytest.mark.parametrize("kind", ["path", "file URL", "object store", "any other"])
def test_everywhere_are_the_bytes_of_the_own_folder(
    kind: str, workspace: Workspace, here: Workspace, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    import fsspec

    for each in (workspace, here):
        render_only(each, *ALL[:4])
    if kind == "object store":
        request.getfixturevalue("store")
    memory = f"memory://{tmp_path.name}/shards"
    root = {"path": "../far", "file URL": f"file://{tmp_path}/far", "object store": URL, "any other": memory}[kind]
    for chosen in (ALL[:4], ALL[1:]):
        for each, parameters in ((workspace, at(root)), (here, SMALL)):
            render_only(each, *chosen)
            rows = write(parameters, each)
        assert rows == list(read_rows(workspace.shards))
    if kind == "object store":
        there = objects()
    elif kind == "any other":
        there = {Path(path).name: data for path, data in fsspec.filesystem("memory").cat(f"{memory}/*").items()}
    else:
        there = files(tmp_path / "far")
    assert there == files(here.shards)
    assert {name: data for name, data in files(workspace.shards).items() if name != LOCATION} == {
        name: there[name] for name in (INDEX, TOMBSTONES)
    }
    assert not (workspace.scratch / "shards").exists()


def test_what_reads_the_folder_goes_on_to_the_store(workspace: Workspace, here: Workspace, store: ObjectStore) -> None:
    write(at(URL), workspace)
    write(SMALL, here)
    expected = ShardReader(here.shards, "train")
    for place in (workspace.shards, workspace.shards.as_uri(), URL):
        reader = ShardReader(place, "train", streams=QUICK)
        np.testing.assert_array_equal(reader[3].rgba, expected[3].rgba)
        assert verify(place).damages == []
        assert verify(place) == verify(here.shards)
        assert count(place) == count(here.shards)
    np.testing.assert_array_equal(
        TrainingShards(workspace.shards).rgba(ALL[2]), TrainingShards(here.shards).rgba(ALL[2])
    )
    for name, data in objects().items():
        (workspace.root / name).write_bytes(data)
    pattern = str(workspace.root / "train-{000000..000003}.tar")
    assert [sample["__key__"] for sample in webdataset.WebDataset(pattern, shardshuffle=False)] == list(ALL)


def test_exports_and_attribution_find_the_objects(workspace: Workspace, here: Workspace, store: ObjectStore) -> None:
    write(at(URL), workspace)
    write(SMALL, here)
    for each in (workspace, here):
        export_zero123(each.shards, each.root / "exported")
    assert folder_sha256(workspace.root / "exported") == folder_sha256(here.root / "exported")
    assert [asset.uid for asset in shard_objects(workspace, workspace.shards)] == list(ALL)


def test_verification_reads_shards_and_not_objects(workspace: Workspace, store: ObjectStore) -> None:
    write(at(URL), workspace)
    store.seen.clear()
    assert verify(URL).objects == len(ALL)
    assert len([each for each in store.seen if each.method == "GET" and each.path.endswith(".tar")]) == 4


def test_damage_in_a_store_is_named_as_in_a_folder(workspace: Workspace, here: Workspace, store: ObjectStore) -> None:
    for each, parameters in ((workspace, at(URL)), (here, SMALL)):
        write(parameters, each)
    client, shards = boto3.client("s3"), sorted(here.shards.glob("*.tar"))
    for path, harm in zip(
        shards, (lambda data: data[:700], lambda data: data[:600] + b"?" + data[601:]), strict=False
    ):
        path.write_bytes(harm(path.read_bytes()))
        client.put_object(Bucket="sets", Key=f"deep/shards/{path.name}", Body=path.read_bytes())
    shards[2].unlink()
    client.delete_object(Bucket="sets", Key=f"deep/shards/{shards[2].name}")
    shards[3].rename(here.shards / "train-000009.tar")
    client.copy_object(
        Bucket="sets", Key="deep/shards/train-000009.tar", CopySource=f"sets/deep/shards/{shards[3].name}"
    )
    client.delete_object(Bucket="sets", Key=f"deep/shards/{shards[3].name}")
    expected = verify(here.shards)
    assert len(expected.damages) == 6
    assert verify(URL) == expected
    # Beside the tars of an index that DVC brought others may lie.
    assert verify(workspace.shards).damages == [each for each in expected.damages if each.shard != "train-000009.tar"]
    store.fail("GET", r".*\.tar", "refused", times=1000)
    with pytest.raises(StreamError, match=URL):
        verify(URL, streams=QUICK)


def test_a_rerun_without_a_change_writes_nothing(workspace: Workspace, store: ObjectStore) -> None:
    write(at(URL), workspace)
    before = {path.name: path.stat().st_mtime_ns for path in workspace.shards.iterdir()}
    store.seen.clear()
    write(at(URL), workspace)
    assert store.puts(".*") == [LOCK]
    assert {path.name: path.stat().st_mtime_ns for path in workspace.shards.iterdir()} == before


def test_a_set_grows_where_it_is_whatever_is_left_here(workspace: Workspace, store: ObjectStore) -> None:
    render_only(workspace, *ALL[:4])
    write(at(URL), workspace)
    old = objects()
    render_only(workspace, *ALL[2:])
    shutil.rmtree(workspace.shards)
    store.seen.clear()
    rows = write(at(URL), workspace)
    assert [row.key for row in rows] == list(ALL[2:])
    assert sorted(name for name in store.puts() if name != LOCK) == ["train-000002.tar", "train-000003.tar"]
    assert objects().items() >= {name: data for name, data in old.items() if name != INDEX}.items()
    assert count(URL).tombstones.objects == 2
    assert verify(URL).damages == []


def test_tars_leave_the_local_disk_as_they_are_finished(
    workspace: Workspace, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.data import delivery

    seen = []
    take = delivery.Elsewhere.take

    def counting(self, shard, tar, rows):
        take(self, shard, tar, rows)
        seen.append(len(list((workspace.scratch / "shards").glob("*.tar"))))

    monkeypatch.setattr(delivery.Elsewhere, "take", counting)
    write(at(URL, max_bytes=1025, workers=1), workspace)
    assert not list(workspace.shards.glob("*.tar"))
    # Of all those that are finished no more than are on their way.
    assert len(seen) == 4
    assert max(seen) <= 3


@pytest.mark.parametrize("kind", ["refused", "forgotten"])
def test_a_store_that_fails_now_and_then_gets_all_of_it(
    kind: str, workspace: Workspace, here: Workspace, store: ObjectStore
) -> None:
    store.fail("PUT", r".*\.tar", kind, after=1, times=2)
    store.fail("PUT", rf".*/{LOCK}", kind)
    store.fail("PUT", rf".*/{INDEX}", kind)
    store.fail("GET", r"/sets/?", kind)
    store.fail("DELETE", ".*", kind)
    write(at(URL), workspace)
    write(SMALL, here)
    assert objects() == files(here.shards)
    # In the exchange of one set for another as well.
    store.fail("PUT", r".*\.tar", kind, times=2)
    for pattern in (r".*/waiting-.*", rf".*/{INDEX}"):
        store.fail("DELETE", pattern, kind)
    write(at(URL, max_bytes=1025), workspace)
    write(SMALL.model_copy(update={"max_bytes": 1025}), here)
    assert objects() == files(here.shards)


def test_a_store_that_stays_away_is_one_line_and_nothing_is_sent_twice(
    workspace: Workspace, here: Workspace, store: ObjectStore
) -> None:
    store.fail("PUT", r".*000002\.tar", "refused", times=1000)
    with pytest.raises(StreamError, match=rf"^{URL}/train-000002\.tar cannot be written: .*; .*run again$") as caught:
        write(at(URL), workspace)
    assert "\n" not in str(caught.value)
    assert INDEX not in objects()
    assert not (workspace.shards / INDEX).exists()
    sent = objects().keys()
    assert "train-000000.tar" in sent
    assert LOCK not in sent
    store.mend()
    store.seen.clear()
    write(at(URL), workspace)
    write(SMALL, here)
    assert objects() == files(here.shards)
    assert set(store.puts()) == {f"train-00000{number}.tar" for number in range(4)} - sent


def test_what_is_not_as_it_was_sent_is_sent_again(workspace: Workspace, store: ObjectStore) -> None:
    store.fail("PUT", r".*000003\.tar", "refused", times=1000)
    with pytest.raises(StreamError):
        write(at(URL), workspace)
    store.mend()
    boto3.client("s3").put_object(Bucket="sets", Key="deep/shards/train-000001.tar", Body=b"other")
    write(at(URL), workspace)
    assert verify(URL).damages == []


def test_the_old_set_is_whole_until_the_new_one_is(workspace: Workspace, here: Workspace, store: ObjectStore) -> None:
    write(at(URL), workspace)
    old, listed = objects(), files(workspace.shards)
    render_anew(workspace, ALL[0])
    store.fail("PUT", r".*/waiting-.*", "refused", after=2, times=1000)
    with pytest.raises(StreamError):
        write(at(URL, max_bytes=1025), workspace)
    assert objects().items() > old.items()
    assert files(workspace.shards) == listed
    assert verify(URL).damages == []
    store.mend()
    store.seen.clear()
    write(at(URL, max_bytes=1025), workspace)
    render_anew(here, ALL[0])
    write(SMALL.model_copy(update={"max_bytes": 1025}), here)
    assert objects() == files(here.shards)
    sent = [each for each in store.seen if each.method == "PUT" and "/waiting-" in each.path]
    assert len(sent) == 4 - 2, "what had arrived was sent again"


def test_compacting_gives_the_bytes_of_a_set_from_nothing(
    workspace: Workspace, here: Workspace, store: ObjectStore
) -> None:
    write(at(URL), workspace)
    stale = ShardReader(URL, "train", streams=QUICK)
    for each in (workspace, here):
        render_only(each, *ALL[1:])
    write(at(URL), workspace)
    assert count(workspace.shards).tombstones.objects == 1
    write(at(URL), workspace, compact=True)
    write(SMALL, here)
    assert objects() == files(here.shards)
    with pytest.raises(
        InputError,
        match=r"train-000000\.tar is damaged at byte 0, object 00train, member 000\.png at byte 0; the index is older",
    ):
        stale[0]
    assert ShardReader(workspace.shards, "train", streams=QUICK)[0].uid == ALL[1]


def test_a_killed_exchange_is_finished_by_the_next_run(
    workspace: Workspace, here: Workspace, store: ObjectStore
) -> None:
    write(at(URL), workspace)
    # All new shards are there; the second cannot get its name.
    store.fail("PUT", r".*/train-000001\.tar", "refused", times=1000)
    with pytest.raises(StreamError):
        write(at(URL, max_bytes=3000), workspace)
    for place in (URL, workspace.shards):
        with pytest.raises(InputError, match="index"):
            ShardReader(place, "train", streams=QUICK)
    store.mend()
    store.seen.clear()
    write(at(URL, max_bytes=3000), workspace)
    write(SMALL.model_copy(update={"max_bytes": 3000}), here)
    assert objects() == files(here.shards)
    assert not [each for each in store.seen if each.method == "PUT" and "/waiting-" in each.path], "uploaded again"


def test_a_second_writer_is_refused_by_the_name_of_the_first(
    workspace: Workspace, here: Workspace, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.data import writer

    plan, refused = writer.plan_shards, []

    def meanwhile(*given):
        with monkeypatch.context() as patch:
            patch.setattr(writer, "plan_shards", plan)
            with pytest.raises(
                ViewforgeError, match=rf"{URL} is held by another writer, process \d+ on .*since 20"
            ) as caught:
                write(at(URL), here)
            refused.append(str(caught.value))
        return plan(*given)

    monkeypatch.setattr(writer, "plan_shards", meanwhile)
    write(at(URL), workspace)
    assert refused
    assert refused[0].endswith(f"if it is dead, delete {URL}/{LOCK}")
    assert verify(URL).damages == []
    assert LOCK not in objects()


def test_a_root_of_somebody_else_is_left_alone(workspace: Workspace, here: Workspace, store: ObjectStore) -> None:
    write(at(URL), here)
    before = objects()
    with pytest.raises(InputError, match=rf"{URL} holds a shard set of other parameters.*viewforge shard --compact"):
        write(at(URL, max_bytes=3000), workspace)
    assert objects() == before
    boto3.client("s3").delete_object(Bucket="sets", Key=f"deep/shards/{INDEX}")
    with pytest.raises(InputError, match=rf"{URL} holds train-000000\.tar, and no index that lists it"):
        write(at(URL), workspace)
    write(at(URL, max_bytes=3000), workspace, compact=True)
    assert verify(URL).damages == []


def test_a_set_moves_out_and_back_home(workspace: Workspace, here: Workspace, store: ObjectStore) -> None:
    write(SMALL, here)
    write(SMALL, workspace)
    write(at(URL), workspace)
    assert sorted(files(workspace.shards)) == [INDEX, LOCATION]
    write(SMALL, workspace)
    assert folder_sha256(workspace.shards) == folder_sha256(here.shards)
    assert verify(workspace.shards).damages == []


def test_a_set_that_somebody_changed_is_read_as_it_is_now(
    workspace: Workspace, here: Workspace, store: ObjectStore
) -> None:
    render_only(workspace, *ALL[:2])
    write(at(URL), workspace)
    assert verify(URL).objects == 2
    write(SMALL, here)
    for path in here.shards.iterdir():
        boto3.client("s3").put_object(Bucket="sets", Key=f"deep/shards/{path.name}", Body=path.read_bytes())
    assert verify(URL) == verify(here.shards)


def test_an_older_index_reads_a_set_that_has_grown(workspace: Workspace, store: ObjectStore, tmp_path: Path) -> None:
    render_only(workspace, *ALL[:4])
    write(at(URL), workspace)
    older = Path(shutil.copytree(workspace.shards, tmp_path / "older"))
    render_only(workspace, *ALL[1:])
    write(at(URL), workspace)
    assert verify(older).damages == []
    assert [row.key for row in ShardReader(older, "train").rows] == list(ALL[:4])


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("s3://nowhere/shards", "s3://nowhere/shards cannot be written: .*bucket"),
        ("https://host/shards", "nothing can be written over http"),
        ("sftp://user:word@host/shards", "credentials come from the environment"),
        ("gopher://host/shards", "gopher"),
    ],
)
def test_a_root_that_cannot_be_is_one_line(root: str, words: str, workspace: Workspace, store: ObjectStore) -> None:
    from stage.parameters import validated

    with pytest.raises(ViewforgeError, match=words) as caught:
        write(validated(ShardParameters, {"max_bytes": 1024, "output_root": root}, "shard"), workspace)
    assert "\n" not in str(caught.value)
    assert not (workspace.shards / INDEX).exists()


def test_missing_credentials_are_one_line(
    workspace: Workspace, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(workspace.root))
    S3FileSystem.clear_instance_cache()
    with pytest.raises(StreamError, match="credentials in the environment"):
        write(at(URL), workspace)
