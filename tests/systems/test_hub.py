"""Downloads from a hub: pinned, resumed, checked, and from disk where there is no network."""

import json
import os
import shutil
import time

import pytest
from fault_server import end_after, instead, stall_after, status
from hub_support import COMMIT, REPOSITORY, Hub

# The client writes pieces of this size, whatever arrives in between.
PIECE = 10 * 1024 * 1024
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def hub(server, tmp_path):
    return Hub(server, tmp_path / "home")


def one_line(result, *words):
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("viewforge: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in lines[0]


def test_a_branch_is_pinned_and_what_is_there_is_not_fetched_again(hub, tmp_path):
    weights = hub.put("unet/model.safetensors", b"weights" * 100)
    small = hub.put("model_index.json", b'{"a": 1}', large=False)
    hub.put("notes.txt", b"notes")
    out = tmp_path / "out"
    result = hub.run("-o", out, "--file", "unet/*", "--file", "model_index.json")
    assert result.returncode == 0, result.stderr
    assert COMMIT in result.stdout
    assert (out / "unet" / "model.safetensors").read_bytes() == b"weights" * 100
    assert (out / "model_index.json").read_bytes() == b'{"a": 1}'
    assert not (out / "notes.txt").exists()
    record = json.loads((out / "download.json").read_text())
    assert (record["repository"], record["commit"]) == (REPOSITORY, COMMIT)
    # Damaged on the disk since: only that file is fetched again.
    (out / "model_index.json").write_bytes(b'{"a": 2}')
    assert hub.run("-o", out, "--revision", COMMIT, "--file", "unet/*", "--file", "model_index.json").returncode == 0
    assert (out / "model_index.json").read_bytes() == b'{"a": 1}'
    assert len(hub.server.asked(weights)) == 1
    assert len(hub.server.asked(small)) == 2
    # Without network the pinned revision is there still.
    offline = hub.run("-o", out, "--revision", COMMIT, "--file", "unet/*", HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr
    one_line(hub.run("-o", out, "--revision", COMMIT, HF_ENDPOINT=NOWHERE), "out of reach")


def test_a_killed_download_goes_on_where_it_was(hub, server, tmp_path):
    data = os.urandom(PIECE + 500_000)
    path = hub.put("model.ckpt", data)
    server.fail(path, stall_after(len(data) - 1000))
    out = tmp_path / "out"
    process = hub.start("-o", out)
    deadline = time.monotonic() + 60
    while not any(part.stat().st_size >= PIECE for part in out.glob(".model.ckpt.*.part")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert not (out / "model.ckpt").exists()
    result = hub.run("-o", out)
    assert result.returncode == 0, result.stderr
    assert (out / "model.ckpt").read_bytes() == data
    assert [seen.headers.get("Range") for seen in server.asked(path)] == [None, f"bytes={PIECE}-"]
    assert list(out.glob(".*.part")) == []


def test_a_broken_connection_is_mended_within_the_run(hub, server, tmp_path):
    data = os.urandom(PIECE + 1000)
    path = hub.put("model.ckpt", data)
    server.fail(path, end_after(PIECE + 10))
    result = hub.run("-o", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "model.ckpt").read_bytes() == data
    assert server.asked(path)[1].headers["Range"] == f"bytes={PIECE}-"


def test_damage_is_fetched_again_once_and_then_refused(hub, server, tmp_path):
    data, other = b"w" * 1000, b"x" * 1000
    path = hub.put("model.ckpt", data)
    server.fail(path, instead(other))
    assert hub.run("-o", tmp_path / "once").returncode == 0
    assert (tmp_path / "once" / "model.ckpt").read_bytes() == data
    server.fail(path, instead(other), instead(other))
    one_line(hub.run("-o", tmp_path / "twice"), "model.ckpt of lab/toy arrived damaged twice")
    assert [entry.name for entry in (tmp_path / "twice").iterdir() if entry.name != ".download.lock"] == []


def test_the_hubs_own_cache_serves_where_there_is_no_network(hub, tmp_path):
    data = b"cached" * 50
    hub.put("model.ckpt", data)
    from huggingface_hub import snapshot_download

    snapshot_download(REPOSITORY, cache_dir=hub.home / "hub", endpoint=hub.server.url(""), max_workers=1)
    out = tmp_path / "out"
    result = hub.run("-o", out, HF_ENDPOINT=NOWHERE)
    assert result.returncode == 0, result.stderr
    assert (out / "model.ckpt").read_bytes() == data
    assert json.loads((out / "download.json").read_text())["commit"] == COMMIT
    shutil.rmtree(hub.home)
    one_line(
        hub.run("-o", tmp_path / "other", HF_ENDPOINT=NOWHERE), "out of reach", "Connection refused", "HF_ENDPOINT"
    )


def test_mistakes_are_one_line(hub, server, tmp_path):
    hub.put("model.ckpt", b"w")
    one_line(hub.run("-o", tmp_path / "a", "--file", "absent.ckpt"), "no file absent.ckpt", "it has model.ckpt")
    hub.files.clear()
    hub.put("../outside.ckpt", b"w")
    one_line(hub.run("-o", tmp_path / "b"), "outside its place")
    assert not (tmp_path / "outside.ckpt").exists()
    api = f"/api/models/{REPOSITORY}/revision/v9"
    server.fail(api, status(404, X_Error_Code="RevisionNotFound"), status(401, X_Error_Code="RepoNotFound"))
    one_line(hub.run("-o", tmp_path / "c", "--revision", "v9"), "lab/toy has no revision v9")
    one_line(hub.run("-o", tmp_path / "c", "--revision", "v9"), "no repository lab/toy", "HF_TOKEN")
