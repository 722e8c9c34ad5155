"""Telemetry of every library off, and their caches inside the workspace, before any of them is imported."""

import os

from stage.workspace import Workspace

_OFF = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # A first start on a slow disk runs its database migrations for longer than the default of 20 s.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
}
_ABOUT_TELEMETRY = ("TRACK", "TELEMETRY", "ANALYTICS")
# Libraries write and read them in several ways.
_MEANINGS = {**dict.fromkeys(("1", "true", "yes", "on"), True), **dict.fromkeys(("0", "false", "no", "off"), False)}


def speaking() -> list[str]:
    """The variables with which somebody turned a library's telemetry on, after `quiet`."""
    names = [name for name in _OFF if any(word in name for word in _ABOUT_TELEMETRY)]
    return [
        f"{name}={os.environ[name]}"
        for name in names
        if _meaning(os.environ.get(name, _OFF[name])) != _meaning(_OFF[name])
    ]


def _meaning(value: str) -> bool | None:
    """Of a variable that switches something; None of one that says neither."""
    return _MEANINGS.get(value.strip().lower())


def quiet(workspace: Workspace) -> None:
    """Set the environment variables that are not set already."""
    for name, value in {**_OFF, "PREFECT_HOME": str(workspace.root.resolve() / ".prefect")}.items():
        os.environ.setdefault(name, value)
