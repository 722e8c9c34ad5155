"""Options that several subcommands share."""

from pathlib import Path
from typing import Annotated

import typer

from stage.telemetry import quiet
from stage.workspace import Workspace

WORKSPACE_VARIABLE = "VIEWFORGE_WORKSPACE"
WorkspaceOption = Annotated[
    Path,
    typer.Option("--workspace", "-w", help="Folder with params.yaml and dvc.yaml.", envvar=WORKSPACE_VARIABLE),
]
HERE = Path()


def opened(root: Path) -> Workspace:
    """The workspace of a command, with telemetry off."""
    workspace = Workspace(root)
    quiet(workspace)
    return workspace


def without_bars() -> None:
    """Keep the libraries' progress bars out of logs."""
    import sys

    if not sys.stderr.isatty():
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        diffusers_logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()
