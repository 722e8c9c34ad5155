"""The sources of scenes, by the names that the command line knows them under, each with what can be asked of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from stage.errors import ParameterError
from stage.workspace import Workspace
from training.data.preparation.co3d import co3d_scenes
from training.data.preparation.colmap import colmap_scenes
from training.data.preparation.real_estate10k import clip_scenes
from training.data.preparation.renders import rendered_scenes
from training.data.preparation.source_scenes import SourceScene
from training.data.zeronvs_cameras import CameraForm

SourceName = Literal["co3d", "re10k", "acid", "colmap", "renders"]

FORMS: dict[SourceName, CameraForm] = {
    "co3d": "co3d",
    "re10k": "re10k",
    "acid": "re10k",
    "colmap": "co3d",
    "renders": "co3d",
}
"""Which of ZeroNVS's loaders is to read what comes of a source."""

_OPTIONS: dict[SourceName, tuple[str, ...]] = {
    "co3d": ("min_quality", "set_list"),
    "re10k": ("frames", "models"),
    "acid": ("frames", "models"),
    "colmap": ("pictures",),
    "renders": (),
}


@dataclass(frozen=True)
class SceneSource:
    """Scenes, and what they are."""

    origin: dict[str, str | float]
    """Name and options: of other ones other shards would come."""
    scenes: Iterable[SourceScene]


def open_source(name: SourceName, place: Path, **options: Any) -> SceneSource:  # noqa: ANN401 - as each source has them
    """The scenes of a source.

    Args:
        name: which.
        place: its folder; of `renders` a workspace.
        options: what is asked of it; those that are None are not.

    Raises:
        ParameterError: when the source knows no such option.
        InputError: when it is not there.
    """
    asked = {key: value for key, value in options.items() if value is not None}
    if strange := sorted(asked.keys() - set(_OPTIONS[name])):
        of = ", ".join(sorted(other for other, known in _OPTIONS.items() if strange[0] in known))
        raise ParameterError(f"{strange[0]} is not for {name}", f"it belongs to {of}")
    # Where files lie may change while a preparation stands still.
    origin = {key: value for key, value in asked.items() if not isinstance(value, Path)}
    return SceneSource({"name": name, **origin}, _opener(name)(place, **asked))


def _opener(name: SourceName) -> Callable[..., Iterable[SourceScene]]:
    openers: dict[SourceName, Callable[..., Iterable[SourceScene]]] = {
        "co3d": co3d_scenes,
        "re10k": partial(clip_scenes, category="re10k"),
        "acid": partial(clip_scenes, category="acid"),
        "colmap": colmap_scenes,
        "renders": lambda root: rendered_scenes(Workspace(root)),
    }
    return openers[name]
