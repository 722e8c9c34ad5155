"""Output roots on a disk and in an object store over HTTP: objects go there whole or not at all and come back byte by byte."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from stage.errors import InputError, StageFailedError
from stage.output_root import OutputRoot
from stage.packs import object_folder

UID, PRINT = "ab" * 16, "0123456789abcdef" * 4
FILES = {"000.png": b"picture" * 1000, "record.json": b"{}", "deep/er.txt": b""}


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The address of an S3 server on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(store: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket, reached by what the environment says."""
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL", store)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # It would still speak to the server of other tests.
    S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    name = f"bucket-{len(client.list_buckets()['Buckets'])}"
    client.create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture(params=["path", "file URL", "object store"])
def output_root(request: pytest.FixtureRequest, tmp_path: Path) -> OutputRoot:
    if request.param == "object store":
        return OutputRoot.at(f"{request.getfixturevalue('bucket')}/renders", tmp_path)
    return OutputRoot.at({"path": "published", "file URL": f"file://{tmp_path}/published"}[request.param], tmp_path)


def write_object(root: Path, uid: str = UID) -> Path:
    """An object's folder with a few files."""
    folder = object_folder(root, uid)
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_published_is_listed_and_comes_back(output_root: OutputRoot, tmp_path: Path) -> None:
    assert output_root.finished() == set()
    write_object(tmp_path / "here")
    output_root.publish(UID, PRINT, tmp_path / "here")
    assert output_root.finished() == {(UID, PRINT)}
    output_root.fetch(UID, PRINT, tmp_path / "there")
    assert contents(object_folder(tmp_path / "there", UID)) == FILES
    assert [path.name for path in (tmp_path / "there" / UID[:2]).iterdir()] == [UID], "nothing else is left"


def test_another_look_sees_what_others_have_published(output_root: OutputRoot, tmp_path: Path) -> None:
    write_object(tmp_path)
    assert output_root.finished() == set()
    OutputRoot(output_root.url).publish(UID, PRINT, tmp_path)
    assert output_root.finished() == {(UID, PRINT)}


def test_an_object_of_other_parameters_is_another(output_root: OutputRoot, tmp_path: Path) -> None:
    write_object(tmp_path)
    output_root.publish(UID, PRINT, tmp_path)
    output_root.publish(UID, "f" * 64, tmp_path)
    assert output_root.finished() == {(UID, PRINT), (UID, "f" * 64)}


def test_what_comes_back_takes_the_place_of_what_was_there(output_root: OutputRoot, tmp_path: Path) -> None:
    stale = write_object(tmp_path / "there") / "stale.png"
    stale.touch()
    write_object(tmp_path / "here")
    output_root.publish(UID, PRINT, tmp_path / "here")
    output_root.fetch(UID, PRINT, tmp_path / "there")
    assert contents(stale.parent) == FILES


def test_the_same_files_give_the_same_tar(tmp_path: Path) -> None:
    tars = []
    for place in ("one", "two"):
        write_object(tmp_path / place / "objects")
        OutputRoot(str(tmp_path / place / "tars")).publish(UID, PRINT, tmp_path / place / "objects")
        tars.append((tmp_path / place / "tars" / UID[:2] / f"{UID}.{PRINT}.tar").read_bytes())
    assert tars[0] == tars[1]


@pytest.mark.parametrize("damage", ["cut short", "empty", "of another object"])
def test_a_damaged_tar_is_one_line_and_harms_nothing(damage: str, tmp_path: Path) -> None:
    there = contents(write_object(tmp_path / "there"))
    write_object(tmp_path / "here")
    output_root = OutputRoot(str(tmp_path / "tars"))
    output_root.publish(UID, PRINT, tmp_path / "here")
    path = tmp_path / "tars" / UID[:2] / f"{UID}.{PRINT}.tar"
    if damage == "of another object":
        with tarfile.open(path, "w") as archive:
            archive.add(object_folder(tmp_path / "here", UID), "cd/other")
    else:
        path.write_bytes(path.read_bytes()[: 3000 if damage == "cut short" else 0])
    with pytest.raises(StageFailedError, match="is damaged") as caught:
        output_root.fetch(UID, PRINT, tmp_path / "there")
    assert "\n" not in str(caught.value)
    assert contents(object_folder(tmp_path / "there", UID)) == there


def test_other_files_are_not_objects(output_root: OutputRoot, tmp_path: Path) -> None:
    write_object(tmp_path / "here")
    output_root.publish(UID, PRINT, tmp_path / "here")
    if output_root.url.startswith("s3"):
        import boto3

        boto3.client("s3").put_object(Bucket=output_root.url.split("/")[2], Key="renders/notes.txt", Body=b"")
    else:
        (tmp_path / "published" / "notes.txt").touch()
        (tmp_path / "published" / UID[:2] / f".{UID}.{PRINT}.tar.host-77.tmp").touch()
    assert output_root.finished() == {(UID, PRINT)}


@pytest.mark.parametrize("url", ["s3://no-such-bucket/renders", "nonsense://somewhere"])
def test_a_place_that_is_not_there_is_one_line(url: str, bucket: str) -> None:
    with pytest.raises(InputError, match=f"{url} cannot be used") as caught:
        OutputRoot(url).finished()
    assert "\n" not in str(caught.value)


def test_a_store_that_does_not_answer_is_one_line(
    monkeypatch: pytest.MonkeyPatch, bucket: str, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    # A connection that another test made would be taken again.
    S3FileSystem.clear_instance_cache()
    with pytest.raises(InputError, match=r"s3://bucket/elsewhere cannot be used: Could not connect.*127\.0\.0\.1:1"):
        OutputRoot("s3://bucket/elsewhere").finished()
