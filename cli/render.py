"""`viewforge render`: the stage that renders the objects; below it, the pages to look through what it made."""

import os
from pathlib import Path
from typing import Annotated

import typer

from cli.options import HERE, WORKSPACE_VARIABLE, WorkspaceOption, opened
from stage.changes import Changes
from stage.lifeline import exclusive
from stage.parameters import load_section, load_seed
from stage.share import Share
from upkeep.under_dvc import under_dvc

ShardOption = Annotated[
    str | None,
    typer.Option(help="Render one part of the objects alone, as 3/16, and publish no packs: one task of an array."),
]


def add_to(app: typer.Typer) -> None:
    """Add the subcommand with the one below it."""
    group = typer.Typer(invoke_without_command=True, callback=render)
    group.command()(preview)
    app.add_typer(group, name="render", rich_help_panel="Stages")


def render(context: typer.Context, workspace: WorkspaceOption = HERE, shard: ShardOption = None) -> None:
    """Render every selected object from the training cameras.

    render.protocol is one of zero123, syncdreamer, syncdreamer_training, six_views, zero123plus, zero123plus_v1_1,
    viewfusion360, viewfusion_free, lgm, zero_1_to_g, zero_1_to_g_training, zero_1_to_g_lvis, zero_1_to_g_lvis_training,
    zero_1_to_g_lvis_early, zero_1_to_g_lara, hammersley, gso_free, inside.
    render.quality.lighting is one of zero123, four_suns, uniform, trellis, hdri.
    """
    if context.invoked_subcommand:
        # For `viewforge render --workspace DIR preview`.
        os.environ[WORKSPACE_VARIABLE] = str(workspace)
        return
    from blender_render.parameters import RenderParameters
    from blender_render.render import render as run
    from blender_render.render import render_share

    place = opened(workspace)
    parameters = load_section(place.parameters, "render", RenderParameters)
    seed = load_seed(place.parameters)
    share = Share.parse(shard) if shard else None
    changes = Changes()
    with exclusive(place, "render", share), under_dvc(place, "render"):
        failed = render_share(parameters, seed, place, share) if share else run(parameters, seed, place, changes)
    if not share:
        print(f"render: {changes.line('packs', 'rendered')}")
    for outcome in failed:
        print(f"render: quarantined {outcome.uid} ({outcome.failure}): {outcome.message}")


def preview(
    out: Annotated[Path | None, typer.Option(help="Folder to write; scratch/preview if absent.")] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Write a contact sheet per object and a page to look through them, failed objects and their reasons included."""
    from blender_render.parameters import RenderParameters
    from blender_render.preview import write_preview

    place = opened(workspace)
    parameters = load_section(place.parameters, "render", RenderParameters)
    folder = out or place.scratch / "preview"
    counts = write_preview(folder, parameters, load_seed(place.parameters), place)
    print(f"preview: {', '.join(f'{objects} {status}' for status, objects in counts.most_common())}")
    print(f"preview: open {(folder / 'index.html').resolve().as_uri()}")
