"""`viewforge deploy`: the schedules, pools, limits and automations of a Prefect server."""

from typing import Annotated

import typer

from cli.options import HERE, WorkspaceOption, opened


def add_to(app: typer.Typer) -> None:
    """Add the subcommand."""
    app.command(rich_help_panel="Pipeline")(deploy)


def deploy(
    workspace: WorkspaceOption = HERE,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="GPU jobs at once; if absent as it is, or the GPUs of this machine.")
    ] = None,
    blender_hosts: Annotated[
        int | None, typer.Option(min=1, help="Stages that render at once; if absent as it is, or 1.")
    ] = None,
) -> None:
    """Tell the Prefect server of PREFECT_API_URL what runs when: work pools, limits, deployments, automations.

    Again changes only what differs. VIEWFORGE_TIMEZONE is that of the schedules, UTC if absent; VIEWFORGE_PROJECT is where the
    workers find the project, here if absent.
    """
    place = opened(workspace)
    from flows.deploying import deploy as apply

    for name in apply(place.root, gpus, blender_hosts):
        print(f"deploy: {name}")
