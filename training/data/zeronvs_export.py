"""Rendered objects as scenes in ZeroNVS's layout, `<source>/<uid>/frame000001.png` …, a set of shards for each split.

Pictures are composited on white, for the layout has no alpha, and cut and resized to what the published loader asserts
(`training.data.preparation.framing`). Depth is the renderings' where they have the pass, and invalid everywhere (0) where they do
not. One damaged object ends it; `training.data.preparation` goes on without.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from catalog.table import SPLITS
from stage.errors import InputError
from stage.failures import ObjectFailedError
from stage.workspace import Workspace
from training.data.index import INDEX
from training.data.preparation.framing import PUBLISHED_SIDE
from training.data.preparation.renders import rendered_scenes
from training.data.preparation.scene_making import Making, framed_scene
from training.data.preparation.source_scenes import LeftOut, SourceScene
from training.data.zeronvs_cameras import CameraForm
from training.data.zeronvs_layout import Scene, write_scenes


def export_zeronvs(
    workspace: Workspace,
    target: Path,
    side: int = PUBLISHED_SIDE,
    form: CameraForm = "co3d",
    max_bytes: int = 256 * 2**20,
) -> list[Path]:
    """Write a workspace's rendered objects as shards; the shards.

    Args:
        workspace: with renderings.
        target: folder that receives `train-000000.tar` …; older shards in it are replaced.
        side: shorter side of a picture, pixels.
        form: which of ZeroNVS's loaders is to read them.
        max_bytes: a shard is closed when it has so many.

    Raises:
        InputError: when nothing is rendered, `target` holds a shard set of ours, or an object cannot be written.
    """
    if (target / INDEX).exists():
        raise InputError(f"{target} holds shards", "name another folder to export to")
    sources = list(rendered_scenes(workspace))
    written: list[Path] = []
    for split in SPLITS:
        scenes = _whole((source for source in sources if source.split == split), Making(side, form))
        written += write_scenes(target, split, scenes, form, max_bytes)
    return written


def _whole(sources: Iterable[SourceScene], making: Making) -> Iterator[Scene]:
    """Scenes of which nothing is left out, one at a time."""
    for source in sources:
        left_out: list[LeftOut] = []
        try:
            scene = framed_scene(source, making, left_out)
        except ObjectFailedError as error:
            raise InputError(f"{source.key}: {error}", "render it again") from None
        if left_out:
            raise InputError(f"{source.key}: {left_out[0].frame}: {left_out[0].why}", "render it again")
        yield scene
