"""`viewforge data prepare`: pictures with cameras, as others publish them, into the layout that a system trains on."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from training.data.preparation.report import SceneRow


class Source(StrEnum):
    """What is prepared."""

    CO3D = "co3d"
    RE10K = "re10k"
    ACID = "acid"
    COLMAP = "colmap"
    RENDERS = "renders"


class Split(StrEnum):
    """A part of the scenes."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


def add_to(app: typer.Typer) -> None:
    """Add the subcommand with those below it."""
    group = typer.Typer(no_args_is_help=True, help="Prepare data sets.")
    preparing = typer.Typer(no_args_is_help=True, help="Make shards of what others publish.")
    preparing.command()(zeronvs)
    # Else Typer would take the only command for the group itself.
    preparing.callback()(lambda: None)
    group.add_typer(preparing, name="prepare")
    app.add_typer(group, name="data", rich_help_panel="Stages")


def zeronvs(
    source: Annotated[Path, typer.Argument(help="Folder of the data; of renders a workspace.")],
    target: Annotated[Path, typer.Argument(help="Folder to write.")],
    kind: Annotated[Source, typer.Option("--from", help="What the source is.")],
    split: Annotated[list[Split] | None, typer.Option(help="Only this one; may be repeated.")] = None,
    side: Annotated[int, typer.Option(min=1, help="Shorter side; ZeroNVS's loader asserts 256.")] = 256,
    max_bytes: Annotated[int, typer.Option(min=1, help="Close a shard when it has so many.")] = 256 * 2**20,
    val: Annotated[float, typer.Option(min=0, max=1, help="Share held out, if the source has no splits.")] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=1, help="Likewise.")] = 0.1,
    processes: Annotated[int, typer.Option(min=1, help="Processes that make scenes.")] = 1,
    min_quality: Annotated[float | None, typer.Option(help="co3d: of a sequence's cameras.")] = None,
    set_list: Annotated[str | None, typer.Option(help="co3d: whose splits to follow, as fewview_dev.")] = None,
    frames: Annotated[Path | None, typer.Option(help="re10k, acid: folder of the clips' frames.")] = None,
    models: Annotated[Path | None, typer.Option(help="re10k, acid: folder of the clips' reconstructions.")] = None,
    pictures: Annotated[str | None, typer.Option(help="colmap: folder beside sparse/, as images_4.")] = None,
) -> None:
    """Make ZeroNVS's shards, with depth and cameras, of CO3D, RealEstate10K, ACID, reconstructions by COLMAP or renderings."""
    from stage.parameters import validated
    from training.data.preparation.prepared_shards import PreparationParameters, prepare
    from training.data.preparation.scene_making import Making
    from training.data.preparation.sources import FORMS, open_source

    options = {"min_quality": min_quality, "set_list": set_list, "frames": frames, "models": models}
    opened = open_source(kind.value, source, pictures=pictures, **options)
    parameters = validated(
        PreparationParameters, {"max_bytes": max_bytes, "shares": {"val": val, "test": test}}, "the command line"
    )
    chosen = [each.value for each in split or Split]
    rows = prepare(opened, target, Making(side, FORMS[kind.value]), parameters, chosen, processes)
    for name in chosen:
        _tell(name, [row for row in rows if row.split == name], target)


def _tell(split: str, rows: list["SceneRow"], target: Path) -> None:
    """What a split holds, in the words of a dataset block of ZeroNVS's configuration, and what it lacks."""
    written = [row for row in rows if row.shard]
    if written:
        frames, shards = sum(row.frames for row in written), len({row.shard for row in written})
        pattern = target / split / f"{split}-{{shard:06d}}.tar"
        print(
            f"prepare: {split}: dataset_url {pattern}, dataset_n_shards {shards}, dataset_n_scenes {len(written)},"
            f" views_per_scene {round(frames / len(written))}"
        )
    left_out = sum(len(row.left_out) for row in rows)
    if left_out:
        print(f"prepare: {split}: {left_out} frames left out, see {target / 'prepared.parquet'}")
    for row in [row for row in rows if row.failure][:3]:
        print(f"prepare: {split}: left out, {row.failure}: {row.scene}: {row.message}")
    failed = len(rows) - len(written)
    if failed > 3:
        print(f"prepare: {split}: {failed} scenes left out, see {target / 'prepared.parquet'}")
