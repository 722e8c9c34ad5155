"""`viewforge splatter`: the stage that makes Gaussians; below it, looking at them, converting their files, meshes of them."""

import math
import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.options import HERE, WORKSPACE_VARIABLE, WorkspaceOption, opened
from stage.changes import Changes
from stage.errors import ParameterError
from stage.lifeline import exclusive
from stage.parameters import load_section, load_seed
from upkeep.under_dvc import under_dvc


def add_to(app: typer.Typer) -> None:
    """Add the subcommand with those below it."""
    group = typer.Typer(invoke_without_command=True, callback=splatter)
    group.command()(view)
    group.command()(convert)
    group.command()(mesh)
    app.add_typer(group, name="splatter", rich_help_panel="Stages")


def splatter(context: typer.Context, workspace: WorkspaceOption = HERE) -> None:
    """Make pixel-aligned Gaussians of six fixed views, in closed form, and refine them where splatter.refinement.steps says so.

    splatter.layout is one of six_views, zero_1_to_g_lvis, zero_1_to_g_lvis_early, zero_1_to_g_lara.
    splatter.colour is lit or albedo.
    """
    if context.invoked_subcommand:
        # For `viewforge splatter --workspace DIR view`.
        os.environ[WORKSPACE_VARIABLE] = str(workspace)
        return
    from blender_render.parameters import SplatterParameters
    from blender_render.splatter import make_splatters

    place = opened(workspace)
    parameters = load_section(place.parameters, "splatter", SplatterParameters)
    changes = Changes()
    with exclusive(place, "splatter"), under_dvc(place, "splatter"):
        summary = make_splatters(parameters, load_seed(place.parameters), place, changes)
    print(f"splatter: {changes.line('packs')}")
    quality = f"PSNR {summary['psnr']:.2f} dB, SSIM {summary['ssim']:.4f}, alpha-IoU {summary['alpha_iou']:.4f}"
    print(f"splatter: {summary['objects']} objects, from unseen views {quality}")


def view(
    target: Annotated[str, typer.Argument(help="An object's uid, or a file: .ply, .splat, .spz, .sog.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; scratch/view/NAME if absent.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="Pictures of the turn.")] = 48,
    size: Annotated[int, typer.Option(min=16, max=4096, help="Width and height of the video, even.")] = 256,
    elevation_deg: Annotated[float, typer.Option(min=-89, max=89, help="Of the camera above the horizon.")] = 20.0,
    radius: Annotated[float | None, typer.Option(min=1e-6, help="Of the camera's way; fitting if absent.")] = None,
    fov_deg: Annotated[float, typer.Option(min=1, max=150, help="Full field of view.")] = 40.0,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Write a video all around Gaussians, a contact sheet, and a page to turn them in a browser; no GPU is needed."""
    if size % 2:
        raise ParameterError(f"--size is {size}, and H.264 needs an even number", f"try {size + 1}")
    from viewing.objects import find_gaussians

    place = opened(workspace)
    name, gaussians = find_gaussians(target, place)
    # PyTorch takes seconds to import, which a mistake need not wait for.
    from viewing.view import Look, write_view

    folder = out or place.scratch / "view" / name
    look = Look(frames, size, math.radians(elevation_deg), math.radians(fov_deg), radius)
    why_no_page = write_view(folder, name, gaussians, look)
    print(f"view: {len(gaussians):,} Gaussians in {folder / 'orbit.mp4'} and {folder / 'sheet.png'}")
    if why_no_page:
        print(f"view: no page for the browser: {why_no_page}")
    else:
        print(f"view: open {(folder / 'viewer.html').resolve().as_uri()}")


def convert(
    source: Annotated[Path, typer.Argument(help="File to read: .ply, .splat, .spz, .sog.")],
    target: Annotated[Path, typer.Argument(help="File to write: .ply, .splat, .spz, .sog.")],
    upright: Annotated[bool, typer.Option("--upright", help="Turn Z up to the Y down that viewers assume.")] = False,
) -> None:
    """Convert a file of Gaussians to the format of another suffix."""
    from viewing.conversion import convert as run

    count = run(source, target, upright)
    print(f"convert: {count:,} Gaussians, {target} has {target.stat().st_size:,} bytes")


def mesh(
    target: Annotated[str, typer.Argument(help="An object's uid, or a file: .ply, .splat, .spz, .sog.")],
    out: Annotated[Path, typer.Option(help="The .glb file to write.")] = Path("model.glb"),
    faces: Annotated[int, typer.Option(min=4, help="Most triangles.")] = 20_000,
    resolution: Annotated[int, typer.Option(min=16, max=512, help="Voxels along the longest side.")] = 128,
    texture_size: Annotated[int, typer.Option(min=16, max=8192, help="Width and height of the texture.")] = 1024,
    views: Annotated[int, typer.Option(min=6, max=1000, help="Cameras that look at the object.")] = 48,
    view_size: Annotated[
        int, typer.Option(min=16, max=2048, help="Of a camera's picture, as those that the Gaussians were made from.")
    ] = 128,
    surface: Annotated[
        Literal["outline", "depth"],
        typer.Option(help="As far out as outlines are, or where the Gaussians' centres lie."),
    ] = "outline",
    workspace: WorkspaceOption = HERE,
) -> None:
    """Write a closed, textured mesh of Gaussians, which Blender and other programs import upright."""
    from viewing.objects import find_gaussians

    _, gaussians = find_gaussians(target, opened(workspace))
    # PyTorch takes seconds to import, which a mistake need not wait for.
    from reconstruction.parameters import FusionParameters, TextureParameters
    from reconstruction.textured import write_mesh

    fusion = FusionParameters(resolution=resolution, views=views, view_size=view_size, surface=surface)
    made = write_mesh(out, gaussians, fusion, TextureParameters(faces=faces, size=texture_size))
    print(f"mesh: {made.line()}, in {out}")
