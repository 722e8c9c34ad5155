"""Which objects a folder of pictures or meshes holds, and which file is which view. Nothing is opened here.

Layouts, told by their names alone:

- `<object>/<view>.png`, also `.webp`, `.jpg`, `.npy`, `.npz`; `<object>/mesh.obj`, also `.ply`, `.glb`; `transforms.json`.
- `<uid[:2]>/<uid>/000.png` of rendered objects (`stage.packs`); passes beside the views are left alone.
- `<object>/<input>/0.png` … `35.png` of ViewFusion (`generate_360_view_autoregressive.py`), one folder of pictures an object.
- `<object>/0.png` of SyncDreamer (`generate.py`): strips of all views from left to right, a file a sample; or `<object>.png`,
  which is left alone beside a folder `<object>` of pictures.
  Which picture is a strip its shape tells (`evaluation.folders.views`).
- `000.png` … in the folder itself (SyncDreamer's `eval_nvs.py`): a single object, whatever the folder is called.
- `<object>.obj`, `.ply`, `.glb` beside the objects' folders.

Views are named by whole numbers (`0.png` is `000.png`); where an object has no such file, by whatever its files are called.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stage.errors import InputError

PICTURES = (".png", ".webp", ".jpg", ".jpeg")
ARRAYS = (".npy", ".npz")
MESHES = (".obj", ".ply", ".glb")
TRANSFORMS = "transforms.json"
# What a folder that is itself an object is called, on both sides.
SINGLE = "object"
# Letters of a uid that name the folder around it.
_PREFIX = 2


@dataclass
class ObjectFiles:
    """One object's files on one side."""

    views: dict[str, Path] = field(default_factory=dict)
    """Pictures by view, in order."""
    mesh: Path | None = None
    cameras: Path | None = None
    """`transforms.json`."""
    trouble: str = ""
    """Why nobody can say which files are meant; empty where it is plain."""

    def __bool__(self) -> bool:
        return bool(self.views or self.mesh or self.trouble)

    def as_json(self) -> dict[str, Any]:
        """The paths as text."""
        views = {view: str(path) for view, path in self.views.items()}
        mesh, cameras = (str(path) if path else None for path in (self.mesh, self.cameras))
        return {"views": views, "mesh": mesh, "cameras": cameras, "trouble": self.trouble}

    @classmethod
    def of(cls, document: dict[str, Any]) -> "ObjectFiles":
        """The files that `as_json` told."""
        views = {view: Path(path) for view, path in document["views"].items()}
        mesh, cameras = (Path(document[name]) if document[name] else None for name in ("mesh", "cameras"))
        return cls(views, mesh, cameras, document["trouble"])


def find_objects(root: Path) -> dict[str, ObjectFiles]:
    """The objects of a folder by name, sorted.

    Raises:
        InputError: when there is no such folder, or nothing in it that is looked for.
    """
    if not root.is_dir():
        raise InputError(f"no folder {root}", "name one that holds a folder of pictures for each object")
    if single := _object(root, numbered_only=True):
        return {SINGLE: single}
    found: dict[str, ObjectFiles] = {}
    for entry in _visible(root):
        if entry.is_dir():
            found |= _in_folder(entry)
    for entry in _visible(root):
        if entry.is_file():
            _add_file(found, entry)
    if not found:
        raise InputError(f"{root} holds no object's pictures or mesh", "expected is OBJECT/000.png or OBJECT.obj")
    return dict(sorted(found.items()))


def view_order(view: str) -> tuple[bool, int, str]:
    """What views are sorted by: numbers first and by size, then names."""
    return (not view.isdecimal(), int(view) if view.isdecimal() else 0, view)


def view_name(stem: str) -> str:
    """The name of a view that a file's name without suffix stands for."""
    return str(int(stem)) if stem.isdecimal() else stem


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _in_folder(folder: Path) -> dict[str, ObjectFiles]:
    """The object of a folder, or the objects in the folders below it."""
    if found := _object(folder):
        return {folder.name: found}
    below = {entry.name: files for entry in _visible(folder) if entry.is_dir() and (files := _object(entry))}
    if len(folder.name) == _PREFIX and below and all(name.startswith(folder.name) for name in below):
        return below
    if len(below) > 1:
        some = ", ".join(list(below)[:3])
        return {
            folder.name: ObjectFiles(trouble=f"{folder} holds {len(below)} folders of pictures ({some}): keep one")
        }
    return dict.fromkeys([folder.name], next(iter(below.values()))) if below else {}


def _object(folder: Path, *, numbered_only: bool = False) -> ObjectFiles:
    files = [entry for entry in _visible(folder) if entry.is_file()]
    views, trouble = _views(files, numbered_only)
    meshes = [path for path in files if path.stem == "mesh" and path.suffix.lower() in MESHES]
    if len(meshes) > 1:
        trouble = f"{folder} holds {' and '.join(path.name for path in meshes)}: keep one"
    cameras = folder / TRANSFORMS
    return ObjectFiles(views, meshes[0] if meshes else None, cameras if cameras.is_file() else None, trouble)


def _views(files: Iterable[Path], numbered_only: bool) -> tuple[dict[str, Path], str]:
    """Pictures by view, and what is ambiguous about them; without pictures, arrays.

    Zero-1-to-3's camera `000.npy` beside `000.png` is no picture.
    """
    files = list(files)
    for suffixes in (PICTURES, ARRAYS):
        found = [path for path in files if path.suffix.lower() in suffixes]
        numbered = [path for path in found if path.stem.isdecimal()]
        chosen = numbered if numbered or numbered_only else found
        if chosen:
            return _by_view(chosen)
    return {}, ""


def _by_view(paths: Iterable[Path]) -> tuple[dict[str, Path], str]:
    views: dict[str, Path] = {}
    for path in paths:
        other = views.setdefault(view_name(path.stem), path)
        if other != path:
            return {}, f"{path.parent} holds {other.name} and {path.name} for one view: keep one"
    return dict(sorted(views.items(), key=lambda pair: view_order(pair[0]))), ""


def _add_file(found: dict[str, ObjectFiles], path: Path) -> None:
    """Add a mesh or a strip that lies beside the objects' folders."""
    suffix = path.suffix.lower()
    if suffix not in {*MESHES, *PICTURES}:
        return
    files = found.setdefault(path.stem, ObjectFiles())
    if suffix in MESHES:
        if files.mesh:
            files.trouble = f"{files.mesh} and {path} are both this object's mesh: keep one"
        files.mesh = path
    elif not files.views:
        files.views = {"0": path}
    elif (other := next(iter(files.views.values()))).parent == path.parent:
        files.trouble = f"{other} and {path} are both this object's strip: keep one"
