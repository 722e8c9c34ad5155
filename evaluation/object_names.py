"""Which of a source's objects are evaluated, by their names: the lists that papers publish."""

from collections.abc import Sequence
from pathlib import Path

from catalog.table import Asset
from stage.errors import InputError
from stage.workspace import Workspace

_SHOWN = 3


def named(assets: Sequence[Asset], objects: Sequence[str] | str | None, workspace: Workspace) -> list[Asset]:
    """The assets with these names.

    Args:
        assets: of a source.
        objects: titles or uids, or a file with one a line, of which empty lines and what follows # do not count; all when None.
        workspace: where a relative file's path starts.

    Raises:
        InputError: when the file is missing, or none is named, or a name is no asset's.
    """
    if objects is None:
        return list(assets)
    names = _listed(workspace.root / objects) if isinstance(objects, str) else list(objects)
    if not names:
        raise InputError("evaluate.objects names no object", "name some, or set it to null for all of the source")
    wanted = set(names)
    found = [asset for asset in assets if wanted & {asset.title, asset.uid}]
    missing = sorted(wanted - {name for asset in found for name in (asset.title, asset.uid)})
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else "")
        raise InputError(f"evaluate.objects names {shown}, which the source does not have", "add or unlist them")
    return found


def _listed(path: Path) -> list[str]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", "set evaluate.objects to a text file of names") from None
    names = [line.partition("#")[0].strip() for line in lines]
    if not any(names):
        raise InputError(f"{path} names no object", "write one name a line")
    return [name for name in names if name]


def object_category(asset: Asset) -> str:
    """What kind of thing an object is: its first category, else its first tag, else nothing.

    Categories are Google Scanned Objects' own (`metadata.pbtxt`) or LVIS's; the first tag of a composed object is its family.
    """
    return next(iter((*asset.categories, *asset.tags)), "")
