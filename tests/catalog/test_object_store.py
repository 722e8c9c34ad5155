"""Files under the hash of their bytes, and what URLs are remembered to hold."""

import hashlib
import threading
from pathlib import Path

import pytest

from catalog.object_store import ObjectStore
from stage.failures import FailureClass, ObjectFailedError

DATA = b"glTF and more"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "store")


def file_of(folder: Path, data: bytes, name: str = "file.glb") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def files(store: ObjectStore) -> list[str]:
    return sorted(p.relative_to(store.root).as_posix() for p in store.root.rglob("*") if p.is_file())


def test_a_file_lies_under_its_hash_and_is_gone_from_where_it_was(store: ObjectStore, tmp_path: Path) -> None:
    assert not store.has(SHA256, "glb")
    file = file_of(tmp_path, DATA)
    assert store.adopt(file) == SHA256
    assert store.has(SHA256.upper(), ".GLB")
    assert files(store) == [f"{SHA256[:2]}/{SHA256}.glb"]
    assert not file.exists()


def test_the_same_bytes_are_stored_once(store: ObjectStore, tmp_path: Path) -> None:
    assert store.adopt(file_of(tmp_path, DATA)) == store.adopt(file_of(tmp_path, DATA, "other.GLB"), SHA256)
    assert len(files(store)) == 1


def test_a_file_without_an_extension_has_none_here(store: ObjectStore, tmp_path: Path) -> None:
    store.adopt(file_of(tmp_path, DATA, "file"))
    assert store.path(SHA256, "").is_file()
    assert store.path(SHA256, "").name == SHA256


def test_writers_at_the_same_time_do_not_meet(store: ObjectStore, tmp_path: Path) -> None:
    copies = [file_of(tmp_path, DATA, f"{n}.glb") for n in range(16)]
    found: list[str] = []
    threads = [threading.Thread(target=lambda copy=copy: found.append(store.adopt(copy))) for copy in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [SHA256] * 16
    assert store.verify(SHA256, "glb")
    assert len(files(store)) == 1


def test_a_file_that_another_has_just_adopted_is_adopted(store: ObjectStore, tmp_path: Path) -> None:
    file = file_of(tmp_path, DATA)
    with pytest.raises(FileNotFoundError):
        store.adopt(tmp_path / "none.glb", SHA256)
    store.adopt(file)
    assert store.adopt(file, SHA256) == SHA256


def test_damage_shows_when_asked_for_and_a_whole_copy_mends_it(store: ObjectStore, tmp_path: Path) -> None:
    assert not store.verify(SHA256, "glb"), "it is not there"
    store.adopt(file_of(tmp_path, DATA))
    assert store.verify(SHA256.upper(), "glb")
    store.path(SHA256, "glb").write_bytes(DATA[:-1])
    assert not store.verify(SHA256, "glb")
    store.adopt(file_of(tmp_path, DATA))
    assert store.verify(SHA256, "glb")


@pytest.mark.parametrize("sha256", ["", "../../etc/passwd", SHA256[:-1], SHA256 + "0", "x" * 64, SHA256 + "\n"])
def test_a_hash_that_is_none_never_becomes_a_path(sha256: str, store: ObjectStore) -> None:
    with pytest.raises(ObjectFailedError, match="is no SHA-256 sum") as caught:
        store.path(sha256, "glb")
    assert caught.value.failure is FailureClass.PARSE


@pytest.mark.parametrize("extension", ["../x", "g/lb", "glb\0", "a" * 17, "glb\n", "..glb"])
def test_an_extension_that_is_none_never_becomes_a_path(extension: str, store: ObjectStore) -> None:
    for path in (lambda: store.path(SHA256, extension), lambda: store.incoming("http://a/b", extension)):
        with pytest.raises(ObjectFailedError, match="is no file extension") as caught:
            path()
        assert caught.value.failure is FailureClass.PARSE


def test_a_url_is_remembered_without_its_secrets(store: ObjectStore) -> None:
    url = "https://user:password@host/a.glb?signature=secret"
    assert store.recorded(url) is None
    store.record(url, SHA256, '"etag"')
    record = ObjectStore(store.root).recorded(url)
    assert record
    assert (record.url, record.sha256, record.version) == ("https://host/a.glb", SHA256, '"etag"')
    assert store.recorded("https://host/a.glb") is None, "another query is another URL"
    written = b"".join(p.read_bytes() for p in store.root.rglob("*.json"))
    assert b"secret" not in written
    assert b"password" not in written


def test_a_damaged_record_is_none(store: ObjectStore) -> None:
    store.record("http://a/b", SHA256, None)
    (record,) = store.root.rglob("*.json")
    for text in (record.read_text()[:20], "[]", '{"url": "http://a/b"}', ""):
        record.write_text(text)
        assert store.recorded("http://a/b") is None


def test_records_of_one_url_may_be_written_by_many_threads(store: ObjectStore) -> None:
    errors: list[Exception] = []

    def write() -> None:
        try:
            for _ in range(20):
                store.record("http://a/b", SHA256, None)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_urls_place_of_arrival_is_the_same_in_every_run(store: ObjectStore) -> None:
    assert store.incoming("http://a/b", "glb") == ObjectStore(store.root).incoming("http://a/b", "GLB")
    assert store.incoming("http://a/b", "glb") != store.incoming("http://a/c", "glb")
