"""Light rigs: what lights an object, as data that the farm derives from seeds and a worker puts into the scene.

A rig is a few lamps and surroundings. Five presets: `zero123`, `four_suns`, `uniform`, `trellis`, `hdri`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from blender_render.parameters import QualityParameters
from geometry.cameras import position_from_spherical
from stage.errors import InputError, ParameterError
from stage.seeds import generator

_AREA_SIZE = 1.5
# The first bytes of a Radiance HDR and of an OpenEXR picture.
_MAGIC = {".hdr": b"#?", ".exr": b"v/1\x01"}
# Blender's Euler angles (X, Z) of objaverse-xl's suns, degrees, and the strengths that each draws from, W/m². Its rim light has
# the key's direction, as published.
_SUNS = {
    "key": ((45.0, -45.0), (3.0, 4.0, 5.0)),
    "fill": ((45.0, 135.0), (2.0, 3.0, 4.0)),
    "rim": ((-45.0, -225.0), (3.0, 4.0, 5.0)),
    "bottom": ((180.0, 0.0), (1.0, 2.0, 3.0)),
}
# objaverse-xl's pictures go through Blender's Filmic view; in ours, Standard, its strengths would burn out white surfaces.
_SUN_SCALE = 0.25
_MOST_POINTS = 3
_WORLD_SHARE = (0.3, 0.7)
# A point lamp sends a quarter of what an area lamp of the same power sends straight ahead.
_POINT_FOR_AREA = 4.0


@dataclass(frozen=True)
class Lamp:
    """One lamp that faces the origin.

    `power` is watts, of a sun W/m². `size` is an area lamp's side or a point lamp's radius, world units; a sun has none.
    """

    kind: Literal["AREA", "POINT", "SUN"]
    position: tuple[float, float, float]
    power: float
    size: float = 0.0
    shadow: bool = True


@dataclass(frozen=True)
class LightRig:
    """Lamps, and surroundings of a uniform white or of a map, with their strength."""

    lamps: tuple[Lamp, ...]
    ambient: float
    hdri: bool = False


def read_rig(values: dict[str, Any]) -> LightRig:
    """A rig from the JSON of a job."""
    lamps = tuple(Lamp(**lamp) for lamp in values["lamps"])
    return LightRig(**{**values, "lamps": lamps})


def light_rigs(quality: QualityParameters, seed: int, uid: str, views: int) -> list[LightRig]:
    """The light of an object: one rig for all its views, or one for each.

    Args:
        quality: the preset, and the strengths of ambient and key light.
        seed: the run's seed.
        uid: the object; its light derives from (seed, uid, "light"), that of single views from the view's number as well.
        views: number of views.
    """
    if quality.lighting == "trellis":
        return [_trellis(quality, generator(seed, uid, f"light of view {view}")) for view in range(views)]
    return [_RIGS[quality.lighting](quality, generator(seed, uid, "light"))]


def light_position(random: np.random.Generator) -> Float[np.ndarray, "3"]:
    """A place for the key light: above the horizon by 30° to 75°, any azimuth, 2.5 to 3.5 away."""
    polar = np.deg2rad(random.uniform(15.0, 60.0))
    return position_from_spherical(float(polar), random.uniform(-np.pi, np.pi), random.uniform(2.5, 3.5))


def _zero123(quality: QualityParameters, random: np.random.Generator) -> LightRig:
    """One area light of random place and power, as Zero-1-to-3's renders, and uniform surroundings.

    (cvlab-columbia/zero123 `blender_script.py`: 300 W to 600 W. The scale of power and the surroundings are our choice.)
    """
    position = _triple(light_position(random))
    power = quality.key_light * float(random.uniform(2 / 3, 4 / 3))
    return LightRig((Lamp("AREA", position, power, _AREA_SIZE),), quality.ambient)


def _four_suns(quality: QualityParameters, random: np.random.Generator) -> LightRig:
    """Key, fill, rim and bottom sun without shadows, each of a random strength, and uniform surroundings.

    Directions and strengths (a quarter of them) are those of allenai/objaverse-xl `scripts/rendering/blender_script.py`,
    `randomize_lighting`; the surroundings, without which the sides that no sun sees are black, are our choice.
    """
    suns = tuple(
        Lamp("SUN", _sun_position(*turn), _SUN_SCALE * float(random.choice(strengths)), shadow=False)
        for turn, strengths in _SUNS.values()
    )
    return LightRig(suns, quality.ambient)


def _sun_position(around_x: float, around_z: float) -> tuple[float, float, float]:
    """Where a sun stands whose lamp, shining along −z, is turned about x and then about z, degrees; distance 1."""
    x, z = np.deg2rad([around_x, around_z])
    return _triple(np.array([np.sin(x) * np.sin(z), -np.sin(x) * np.cos(z), np.cos(x)]))


def _uniform(quality: QualityParameters, random: np.random.Generator) -> LightRig:  # noqa: ARG001 - nothing is random
    """White surroundings and no lamp; at an ambient of 0.5 SyncDreamer's light (its `blender_script.py`)."""
    return LightRig((), quality.ambient)


def _trellis(quality: QualityParameters, random: np.random.Generator) -> LightRig:
    """One to three point lamps around the object and white surroundings, whose shares vary and whose sum does not.

    As microsoft/TRELLIS.2 lights each view anew; its numbers are not at hand. Places uniform over the sphere at distances of 2.5
    to 3.5, a share of the surroundings of 0.3 to 0.7, and radius 0.1 are our choice. On average over views the
    surroundings have the strength `ambient` and the lamps light a side like `key_light`.
    """
    share = float(random.uniform(*_WORLD_SHARE))
    count = int(random.integers(1, _MOST_POINTS + 1))
    watts = 2.0 * (1.0 - share) * _POINT_FOR_AREA * quality.key_light * random.dirichlet(np.ones(count))
    lamps = tuple(Lamp("POINT", _around(random), float(power), size=0.1) for power in watts)
    return LightRig(lamps, 2.0 * share * quality.ambient)


def _around(random: np.random.Generator) -> tuple[float, float, float]:
    direction = random.standard_normal(3)
    return _triple(direction / np.linalg.norm(direction) * random.uniform(2.5, 3.5))


def _hdri(quality: QualityParameters, random: np.random.Generator) -> LightRig:  # noqa: ARG001 - the map is all
    """The map alone, as bright as it says; its centre shines from +X, a quarter of its width to the left from +Y."""
    return LightRig((), 1.0, hdri=True)


def _triple(values: Float[np.ndarray, "3"]) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z


_RIGS: dict[str, Callable[[QualityParameters, np.random.Generator], LightRig]] = {
    "zero123": _zero123,
    "four_suns": _four_suns,
    "uniform": _uniform,
    "hdri": _hdri,
}


def hdri_path(quality: QualityParameters, root: Path) -> Path | None:
    """The environment map that the parameters ask for; None when they ask for none.

    Args:
        quality: lighting and the path of its map, absolute or relative to `root`.
        root: folder that a relative path starts from.

    Raises:
        ParameterError: when `lighting` and `hdri` do not belong together, or the file is of another type.
        InputError: when there is no such file, or it is no such picture.
    """
    if quality.lighting != "hdri" or quality.hdri is None:
        _check_pair(quality)
        return None
    path = root / quality.hdri
    magic = _MAGIC.get(path.suffix.lower())
    if magic is None:
        raise ParameterError(f"quality.hdri is {quality.hdri}, of another type", "name an .hdr or .exr file")
    if not path.is_file():
        raise InputError(f"no environment map {path}", "set quality.hdri to an .hdr or .exr file")
    with path.open("rb") as stream:
        if stream.read(len(magic)) != magic:
            raise InputError(f"{path} is no {path.suffix[1:].upper()} picture", "export or download it again")
    return path


def _check_pair(quality: QualityParameters) -> None:
    if quality.lighting == "hdri":
        raise ParameterError("quality.lighting is hdri without a map", "set quality.hdri to an .hdr or .exr file")
    if quality.hdri is not None:
        raise ParameterError(
            f"quality.hdri is set, but quality.lighting is {quality.lighting}",
            "set quality.lighting to hdri, or remove quality.hdri",
        )
