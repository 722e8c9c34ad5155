"""Rendering in shares, through an output root and on a Ray cluster: the packs are those of one undisturbed run, byte by byte."""

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from blender_render.cost import estimated_cost
from blender_render.ledger import ledger_rows
from blender_render.parameters import RenderParameters
from catalog.table import read_table
from stage.share import Share

RENDER = {
    "views": 2,
    "resolution": 16,
    "quality": {"samples": 1, "denoise": False, "device": "cpu"},
    "executor": {"workers": 1},
    "max_failure_rate": 0.0,
}
OBJECTS = 6
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def set_up(place: Path, catalogue: Path | None, **render: object) -> Path:
    """A workspace, with another one's catalogue as after `dvc pull`."""
    place.mkdir(parents=True)
    values = {"seed": 5, "catalog": {"objects": OBJECTS, "packs": 2}, "render": {**RENDER, **render}}
    (place / "params.yaml").write_text(yaml.safe_dump(values))
    if catalogue:
        shutil.copytree(catalogue / "data" / "catalog", place / "data" / "catalog")
    return place


def packs(workspace: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((workspace / "data" / "renders").iterdir())}


def renderings(workspace: Path) -> list[str]:
    """Whatever was worked on in a workspace, in order of completion."""
    return [row["uid"] for row in ledger_rows(workspace / "scratch" / "renders")]


def succeed(result: "subprocess.CompletedProcess[str]") -> None:
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, viewforge: Command) -> Path:
    workspace = set_up(tmp_path_factory.mktemp("undisturbed") / "workspace", None)
    succeed(viewforge("catalog", cwd=workspace))
    succeed(viewforge("render", cwd=workspace))
    return workspace


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of an S3 server on loopback, which the environment of subprocesses names."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3").create_bucket(Bucket="farm")
        yield "s3://farm"
    server.stop()


def command(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """`viewforge ARGUMENTS` in the environment of the moment."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_shares_side_by_side_and_a_last_run_give_the_packs_of_one_run(undisturbed: Path, tmp_path: Path) -> None:
    workspace = set_up(tmp_path / "workspace", undisturbed)
    shares = [
        subprocess.Popen(
            [sys.executable, "-m", "cli.main", "render", "--shard", f"{number}/2"],
            cwd=workspace,
            stderr=subprocess.PIPE,
        )
        for number in (1, 2)
    ]
    for share in shares:
        _, said = share.communicate(timeout=200)
        assert share.returncode == 0, said.decode()
    assert not (workspace / "data" / "renders").exists(), "shares publish nothing"
    assert sorted(renderings(workspace)) == sorted(set(renderings(undisturbed))), "each object once"
    succeed(command("render", cwd=workspace))
    assert len(renderings(workspace)) == OBJECTS, "the last run found all complete"
    assert packs(workspace) == packs(undisturbed)


def test_the_costly_objects_come_first(undisturbed: Path) -> None:
    assets = {asset.uid: asset for asset in read_table(undisturbed / "data" / "catalog" / "catalog.parquet")}
    costs = [estimated_cost(assets[uid], RenderParameters.model_validate(RENDER)) for uid in renderings(undisturbed)]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > costs[-1]


@pytest.mark.parametrize("where", ["file", "s3"])
def test_machines_without_a_common_disk_meet_in_the_output_root(
    where: str, undisturbed: Path, bucket: str, tmp_path: Path
) -> None:
    url = {"file": f"file://{tmp_path}/root", "s3": f"{bucket}/renders"}[where]
    first = set_up(tmp_path / "first", undisturbed, output_root=url)
    succeed(command("render", "--shard", "1/2", cwd=first))
    last = set_up(tmp_path / "last", undisturbed, output_root=url)
    succeed(command("render", cwd=last))
    assert sorted(renderings(first) + renderings(last)) == sorted(renderings(undisturbed)), "nothing was done twice"
    assert renderings(first)
    assert renderings(last)
    assert packs(last) == packs(undisturbed)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_killed_share_goes_on_and_the_bytes_are_the_same(undisturbed: Path, bucket: str, tmp_path: Path) -> None:
    workspace = set_up(tmp_path / "workspace", undisturbed, output_root=f"{bucket}/killed")
    share = subprocess.Popen([sys.executable, "-m", "cli.main", "render", "--shard", "1/1"], cwd=workspace)
    ledger = workspace / "scratch" / "renders" / "ledger-1-of-1.jsonl"
    deadline = time.monotonic() + 100
    while not ledger.exists():
        assert share.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    family = psutil.Process(share.pid).children(recursive=True)
    os.kill(share.pid, signal.SIGKILL)
    share.wait()
    _, alive = psutil.wait_procs(family, 10)
    assert not alive
    before = len(renderings(workspace))
    assert 0 < before < OBJECTS
    succeed(command("render", cwd=workspace))
    assert len(renderings(workspace)) <= OBJECTS
    assert packs(workspace) == packs(undisturbed)


def test_an_output_root_that_is_not_there_is_one_line(undisturbed: Path, bucket: str, tmp_path: Path) -> None:
    workspace = set_up(tmp_path / "workspace", undisturbed, output_root="s3://no-such-bucket")
    result = command("render", cwd=workspace)
    assert result.returncode == 1
    assert "s3://no-such-bucket cannot be used" in result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert not renderings(workspace), "nothing was rendered in vain"


def test_a_share_that_is_none_is_one_line(undisturbed: Path, viewforge: Command) -> None:
    result = viewforge("render", "--shard", "0/4", cwd=undisturbed)
    assert result.returncode == 1
    assert "no shard '0/4'" in result.stderr
    assert Share.parse("1/4").count == 4


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray is not installed")
def test_a_ray_cluster_gives_the_packs_of_one_machine(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    workspace = set_up(tmp_path / "workspace", undisturbed, executor="ray")
    succeed(command("render", cwd=workspace))
    assert packs(workspace) == packs(undisturbed)
