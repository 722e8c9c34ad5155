"""OBJ files and their material libraries: what they refer to, how many faces they have, and a copy that leads nowhere else.

Blender looks for a texture that a library names beside the library, at the path as it stands, and in the working folder. So it
is given a folder of ours: a link to the mesh, and libraries whose textures are files below the asset's folder or absent.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blender_render.references import absent, file_name, target_below
from stage.failures import FailureClass, ObjectFailedError

# Blender's OBJ importer reads such a coordinate as 0. What follows a # is a comment.
_NOT_FINITE = re.compile(rb"^v\s[^\n#]*\b(nan|inf)", re.MULTILINE | re.IGNORECASE)
_FACE = re.compile(rb"^[ \t]*f[ \t]", re.MULTILINE)
_LIBRARY = re.compile(rb"^[ \t]*mtllib[ \t]+([^\r\n]+)", re.MULTILINE)
_TEXTURE = re.compile(r"^(\s*(?:map_\w+|bump|norm|refl|disp|decal)\s+)(.*?)(\s*)$", re.IGNORECASE)
# An option of a texture and its values (Wavefront MTL), which stand before the path.
_OPTION = re.compile(r"-(?:[ost](?:\s+[-+.\deE]+){1,3}|mm\s+\S+\s+\S+|[a-z]+\s+\S+)\s+", re.IGNORECASE)


def is_finite(data: bytes) -> bool:
    """Whether no vertex of an OBJ file has a coordinate that is not a number or beyond all."""
    return not _NOT_FINITE.search(data)


def count_faces(data: bytes) -> int:
    """Face lines of an OBJ file."""
    return sum(1 for _ in _FACE.finditer(data))


def material_libraries(path: Path, data: bytes) -> dict[str, Path]:
    """The libraries that an OBJ file names, by the name that it uses, and that of its own name, which Blender reads too.

    Raises:
        ObjectFailedError: unsafe, when one lies outside the asset's folder.
    """
    names = {path.with_suffix(".mtl").name, *_named_libraries(data)}
    libraries = {name: target_below(path.parent, name) for name in sorted(names)}
    for name, target in libraries.items():
        if target is None:
            raise ObjectFailedError(FailureClass.UNSAFE, f"{path.name} refers to {name!r}, outside its folder")
    return {name: target for name, target in libraries.items() if target and target.is_file()}


def _named_libraries(data: bytes) -> set[str]:
    """The names of `mtllib` lines: a line is one name with spaces to Blender, several names to others."""
    lines = [match[1].decode(errors="replace").strip() for match in _LIBRARY.finditer(data)]
    names = [name for line in lines for name in (line, *line.split())]
    return {name.strip("\"'") for name in names} - {""}


@contextmanager
def confined(path: Path) -> Iterator[Path]:
    """Yield a path under which Blender can import an OBJ file without reading anything outside the asset's folder.

    Raises:
        ObjectFailedError: unsafe, as `material_libraries`.
    """
    libraries = material_libraries(path, path.read_bytes())
    with tempfile.TemporaryDirectory(prefix="viewforge-obj-") as name:
        folder = Path(name)
        (folder / path.name).symlink_to(path.resolve())
        for library, source in libraries.items():
            copy = folder / library.replace("\\", "/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(_rewritten(source, path, folder))
        yield folder / path.name


def _rewritten(library: Path, asset: Path, folder: Path) -> str:
    """The library with absolute paths of textures below the asset's folder, and of files that are not for all others."""
    lines = library.read_text(errors="replace").splitlines()
    return "\n".join(_rewritten_line(line, library, asset, folder) for line in lines) + "\n"


def _rewritten_line(line: str, library: Path, asset: Path, folder: Path) -> str:
    match = _TEXTURE.match(line)
    if not match:
        return line
    keyword, rest, _ = match.groups()
    reference = rest
    while option := _OPTION.match(reference):
        reference = reference[option.end() :]
    options, reference = rest[: len(rest) - len(reference)], reference.strip("\"'")
    target = _texture(reference, library, asset)
    return f"{keyword}{options}{target or absent(folder, file_name(reference))}"


def _texture(reference: str, library: Path, asset: Path) -> Path | None:
    """A texture relative to its library, below the asset's folder."""
    place = library.parent.relative_to(asset.parent.resolve())
    target = target_below(asset.parent, (place / reference.replace("\\", "/")).as_posix())
    return target if target and target.is_file() else None
