"""Whether rendered views are still those that were rendered.

The farm keeps a finished object as long as input, parameters and code are the same; it does not look at the pictures again.
Here a hash of them is noted after they are rendered, and an object whose pictures are no longer the same is rendered anew.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from blender_render.farm import Farm
from blender_render.rendered_object import is_complete
from catalog.table import Asset
from stage.files import folder_sha256, write_json
from stage.packs import object_folder

_SEALS = "seals.json"
# Seconds and memory, which differ each time, are in it.
_RECORD = frozenset({"record.json"})


def discard_altered(farm: Farm, assets: Sequence[Asset]) -> list[str]:
    """Delete the objects whose files changed since they were sealed, and their seals; their uids.

    Args:
        farm: where they were rendered.
        assets: that will be rendered.
    """
    known = _read(farm.root)
    altered = [asset.uid for asset in assets if asset.uid in known and _is_altered(farm, asset, *known[asset.uid])]
    for uid in altered:
        shutil.rmtree(object_folder(farm.root, uid))
    if altered:
        # Rendered anew its bytes may be others, as from another processor: those will be sealed. A kill before this line leaves
        # a seal of what is not there, which the farm renders and the next evaluation looks at.
        write_json(farm.root / _SEALS, {uid: entry for uid, entry in known.items() if uid not in altered})
    return altered


def _is_altered(farm: Farm, asset: Asset, fingerprint: str, sha256: str) -> bool:
    """Whether a finished object differs from what was sealed; one of another fingerprint is the farm's affair."""
    folder = object_folder(farm.root, asset.uid)
    if fingerprint != farm.fingerprint(asset) or not is_complete(folder, fingerprint):
        return False
    return folder_sha256(folder, _RECORD) != sha256


def seal(farm: Farm, assets: Sequence[Asset]) -> None:
    """Note what was rendered, beside the objects.

    Args:
        farm: where they were rendered.
        assets: that are complete.
    """
    known = _read(farm.root)
    for asset in assets:
        fingerprint = farm.fingerprint(asset)
        if asset.uid not in known or known[asset.uid][0] != fingerprint:
            known[asset.uid] = [fingerprint, folder_sha256(object_folder(farm.root, asset.uid), _RECORD)]
    write_json(farm.root / _SEALS, known)


def _read(root: Path) -> dict[str, list[str]]:
    try:
        known: dict[str, list[str]] = json.loads((root / _SEALS).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return known
