"""Secrets that no file, line or command line may ever show, and a search for them in everything that was written."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

# Long and unlike anything else, so that finding one is never chance; `@` as an address must hold it.
CANARY = "canary7Hq2Zt"
VARIABLES = {
    "MLFLOW_TRACKING_USERNAME": "viewer",
    "MLFLOW_TRACKING_PASSWORD": f"{CANARY}-mlflow",
    "MLFLOW_TRACKING_TOKEN": f"{CANARY}-mlflow-token",
    "MLFLOW_AUTH_ADMIN_PASSWORD": f"{CANARY}-mlflow-admin",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": f"{CANARY}-mlflow-forms",
    "VIEWFORGE_MLFLOW_AUTH_DATABASE_URI": f"postgresql://viewforge:{CANARY}-users@127.0.0.1:9/mlflow_auth",
    "PGPASSWORD": f"{CANARY}-postgres",
    "AWS_ACCESS_KEY_ID": "viewforge-tests",
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}-aws-secret",
    "AWS_SESSION_TOKEN": f"{CANARY}-aws-session",
    "HF_TOKEN": f"hf_{CANARY}hub",
    "GITHUB_TOKEN": f"ghp_{CANARY}github",
    "WANDB_API_KEY": f"{CANARY}-wandb",
    "PREFECT_API_KEY": f"{CANARY}-prefect",
    "PREFECT_API_AUTH_STRING": f"admin:{CANARY}-prefect-basic",
    "PREFECT_SERVER_API_AUTH_STRING": f"admin:{CANARY}-prefect-basic",
    "SHARDS_USER": "reader",
    "SHARDS_PASSWORD": f"{CANARY}-shards",
    "SHARDS_SIGNATURE": f"X-Amz-Signature={CANARY}-signed",
}
"""Every secret that the project reads from its environment."""
_PIECE = 1 << 22


def leaks_in(folder: Path) -> list[str]:
    """Files below a folder, databases and archives among them, that hold a canary: as it is, as UTF-16, or in their name."""
    files = (Path(place) / name for place, _, names in os.walk(folder) for name in names)
    return sorted(str(path.relative_to(folder)) for path in files if CANARY in path.name or _holds(path))


def leaks_on_command_lines(processes: Iterable[int] | None = None) -> Iterator[str]:
    """Command lines of this machine's processes that show a canary, as anybody can read them."""
    for place in Path("/proc").iterdir() if processes is None else (Path("/proc") / str(each) for each in processes):
        if place.name.isdigit():
            try:
                said = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if CANARY in said:
                yield said


def _holds(path: Path) -> bool:
    forms = (CANARY.encode(), CANARY.encode("utf-16-le"))
    before = b""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            if any(form in before + piece for form in forms):
                return True
            before = piece[-64:]
    return False
