"""`viewforge shards export` and `import`: other projects' layouts from ours, and published sets into a workspace."""

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.options import HERE, WorkspaceOption, opened
from stage.lifeline import exclusive


class Layout(StrEnum):
    """What `export` writes."""

    ZERO123 = "zero123"
    ZERONVS = "zeronvs"
    ZERO_1_TO_G = "zero_1_to_g"


class Cameras(StrEnum):
    """Which of ZeroNVS's loaders is to read what `export` writes."""

    CO3D = "co3d"
    RE10K = "re10k"


class PublishedFormat(StrEnum):
    """What `import` reads."""

    VIEWS_RELEASE = "views_release"
    ZERONVS = "zeronvs"
    RE10K = "re10k"
    ACID = "acid"
    ZERO_1_TO_G = "zero_1_to_g"


def add_to(group: typer.Typer) -> None:
    """Add the subcommands to the group `shards`."""
    group.command("export")(export)
    group.command("import")(import_)


def export(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    layout: Annotated[
        Layout,
        typer.Option(
            help="zero123: folders, from the shards; zeronvs: shards, from the renderings; "
            "zero_1_to_g: folders, from the renderings and splatter images."
        ),
    ],
    side: Annotated[int, typer.Option(min=1, help="zeronvs: shorter side; its loader asserts 256.")] = 256,
    cameras: Annotated[Cameras, typer.Option(help="zeronvs: form of the metadata.")] = Cameras.CO3D,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Write the workspace's objects in the layout that Zero-1-to-3's, ZeroNVS's or Zero-1-to-G's own code trains on."""
    place = opened(workspace)
    if layout is Layout.ZERO123:
        from training.data.zero123_export import export_zero123

        written = export_zero123(place.shards, out)
        print(
            f"export: {written.objects} objects of {written.views} views in {out}; set total_view to {written.views}"
        )
        return
    if layout is Layout.ZERO_1_TO_G:
        from training.data.zero_1_to_g_export import export_zero_1_to_g

        exported = export_zero_1_to_g(place, out)
        print(f"export: {exported.scenes} scenes of {exported.views} views in {out}; its own loader wants 56")
        return
    from training.data.zeronvs_export import export_zeronvs

    shards = export_zeronvs(place, out, side, cameras.value)
    print(f"export: {len(shards)} shards in {out}: dataset_url {out / 'train-{shard:06d}.tar'}")


def import_(
    source: Annotated[Path, typer.Argument(help="Folder or tar of the published set.")],
    out: Annotated[Path, typer.Argument(help="Workspace to make.")],
    published: Annotated[PublishedFormat, typer.Option("--format", help="What the source is.")],
    views: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="views_release, zero_1_to_g: pictures of a complete object; 12 and 56 if absent."
        ),
    ] = None,
    splatters: Annotated[
        Path | None, typer.Option(help="zero_1_to_g: folder of splatter images; the source has the renderings.")
    ] = None,
) -> None:
    """Make a workspace of a published set, as if it had been rendered there; `viewforge shard --workspace OUT` follows."""
    from training.data.importers.published import open_published
    from training.data.importers.workspace_import import import_set

    place = opened(out)
    with exclusive(place, "import"):
        results = import_set(open_published(published.value, source, views, splatters), place)
    failed = [imported for imported in results if imported.failure]
    print(f"import: {len(results) - len(failed)} of {len(results)} objects, in {out}")
    reasons = Counter((imported.failure, imported.part) for imported in failed)
    for reason, count in sorted(reasons.items()):
        first = next(imported for imported in failed if (imported.failure, imported.part) == reason)
        print(f"import: {count} left out, {' '.join(filter(None, reason))}: {first.uid}: {first.message}")
    print(f"import: next, viewforge shard --workspace {out}")
