"""A workspace whose stages are small shell commands: DVC's outputs, lock file and cache as the pipeline has them, in a second."""

import os
from pathlib import Path

from dvc.cli import main as dvc_main

from stage.workspace import Workspace

_STAGES = """stages:
  render:
    cmd: mkdir -p data/renders && echo one > data/renders/pack-00000.tar && echo two > data/renders/pack-00001.tar
    deps: [params.yaml]
    outs: [data/renders]
  train:
    cmd: mkdir -p data/training && echo '{"loss":1}' > data/training/metrics.json
    deps: [data/renders]
    metrics: [data/training/metrics.json]
"""
_CONFIG = "[core]\n    no_scm = True\n    analytics = false\n[cache]\n    type = {link}\n"


def dvc(root: Path, *arguments: str) -> int:
    """A DVC command in a workspace, within this process; its exit status."""
    before = Path.cwd()
    os.chdir(root)
    try:
        return int(dvc_main([*arguments, "--quiet"]))
    finally:
        os.chdir(before)


def versioned_workspace(root: Path, link: str = "hardlink,copy") -> Workspace:
    """A workspace that `dvc repro` has brought up to date, with a local folder as remote.

    Args:
        root: a new folder.
        link: how outputs and cache share their bytes, as DVC's `cache.type`.
    """
    root.mkdir(parents=True)
    (root / "params.yaml").write_text("seed: 0\n")
    (root / "dvc.yaml").write_text(_STAGES)
    assert dvc(root, "init", "--no-scm") == 0
    (root / ".dvc" / "config").write_text(_CONFIG.format(link=link))
    assert dvc(root, "remote", "add", "--default", "local", str(root.parent / "remote")) == 0
    assert dvc(root, "repro") == 0
    return Workspace(root)


def rot(path: Path) -> None:
    """Flip a bit and leave size and time as they are, as a bad disk does."""
    status = path.stat()
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.chmod(status.st_mode)
