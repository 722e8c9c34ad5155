"""A hub on loopback: its API, its files with their hashes, and `viewforge weights download` against it."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from fault_server import FaultServer

PROJECT = Path(__file__).resolve().parents[2]
REPOSITORY = "lab/toy"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """One repository with one commit, which its branch `main` names.

    Args:
        server: answers the requests.
        home: of the client: its cache and token.
    """

    def __init__(self, server: FaultServer, home: Path) -> None:
        self.server, self.home = server, home
        self.files: dict[str, dict[str, Any]] = {}

    def put(self, name: str, data: bytes, large: bool = True) -> str:
        """Serve a file, a large one by its SHA-256 and a small one as a Git blob; the path of its address."""
        blob = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
        sha256 = hashlib.sha256(data).hexdigest()
        self.files[name] = {"rfilename": name, "size": len(data), "blobId": blob}
        if large:
            self.files[name]["lfs"] = {"size": len(data), "sha256": sha256, "pointerSize": 130}
        answer = {"id": REPOSITORY, "modelId": REPOSITORY, "sha": COMMIT, "siblings": list(self.files.values())}
        for revision in ("main", COMMIT):
            self.server.serve(f"/api/models/{REPOSITORY}/revision/{revision}", json.dumps(answer).encode())
        tree = [
            {"type": "file", "path": n, "size": f["size"], "oid": f["blobId"]}
            | ({"lfs": {**f["lfs"], "oid": f["lfs"]["sha256"]}} if "lfs" in f else {})
            for n, f in self.files.items()
        ]
        self.server.serve(f"/api/models/{REPOSITORY}/tree/{COMMIT}", json.dumps(tree).encode())
        path = f"/{REPOSITORY}/resolve/{COMMIT}/{name}"
        self.server.serve(path, data, f'"{sha256 if large else blob}"', X_Repo_Commit=COMMIT)
        return path

    def start(self, *arguments: str | Path, **variables: str) -> "subprocess.Popen[str]":
        """Begin `viewforge weights download lab/toy ARGUMENTS`."""
        environment = {**os.environ, "HF_HOME": str(self.home), "HF_ENDPOINT": self.server.url(""), **variables}
        return subprocess.Popen(
            [sys.executable, "-m", "cli.main", "weights", "download", REPOSITORY, *map(str, arguments)],
            cwd=PROJECT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        """The same, to its end."""
        process = self.start(*arguments, **variables)
        out, err = process.communicate(timeout=100)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)
