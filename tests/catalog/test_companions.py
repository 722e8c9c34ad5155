"""What glTF, OBJ and MTL files refer to, as far as it stays below their folder."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.companions import references


def found(folder: Path, name: str, content: bytes) -> list[str]:
    path = folder / name
    path.write_bytes(content)
    return list(references(path, path.suffix.removeprefix(".")))


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("map_Kd wood.png", "wood.png"),
        ("  map_Kd   dark wood.png  ", "dark wood.png"),
        ("map_Kd -o 0 0 0 -s 1.5 1 1 wood.png", "wood.png"),
        ("map_Bump -bm 0.2 -clamp on a/b.png", "a/b.png"),
        ("bump b.png", "b.png"),
        ("norm n.png", "n.png"),
        ("map_Kd maps\\wood.png", "maps/wood.png"),
        ('map_Kd "wood.png"', "wood.png"),
        ("map_Kd ./a/./wood.png", "a/wood.png"),
        ("map_Kd ../wood.png", None),
        ("map_Kd C:\\maps\\wood.png", None),
        ("map_Kd /maps/wood.png", None),
        ("map_Kd http://host/wood.png", None),
        ("# map_Kd wood.png", None),
        ("Kd 1 1 1", None),
        ("map_Kd", None),
    ],
)
def test_a_material_names_its_texture(line: str, name: str | None, tmp_path: Path) -> None:
    assert found(tmp_path, "x.mtl", f"newmtl a\n{line}\r\n".encode()) == ([name] if name else [])


def test_an_obj_file_names_its_materials_once(tmp_path: Path) -> None:
    content = b"mtllib a.mtl\nv 0 0 0\nmtllib a.mtl\nmtllib b c.mtl\nusemtl x.mtl\n" + b"v" * 200_000
    assert found(tmp_path, "x.obj", content) == ["a.mtl", "b c.mtl"]


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["obj", "mtl"]))
def test_no_reference_leads_out_of_the_folder(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, file_type: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    start = b"mtllib " if file_type == "obj" else b"map_Kd "
    for name in found(folder, f"x.{file_type}", start + content.replace(b"\n", b"\n" + start)):
        path = PurePosixPath(name)
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert (folder / name).resolve().is_relative_to(folder.resolve())
