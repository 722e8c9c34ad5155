"""Contact sheets: all views of one object in a grid, and one view of each of many."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from stage.errors import InputError

_TILE = 128
_COLUMNS = 6
_GAP = 2
_PAPER = (255, 255, 255)


def object_sheet(folder: Path, views: int) -> Image.Image:
    """All views of a rendered object on white, in order of their numbers, small ones enlarged to be legible.

    Raises:
        InputError: when a view is missing or damaged.
    """
    return grid([_tile(folder / f"{number:03d}.png") for number in range(views)], min(_COLUMNS, views))


def sheet_size(views: int) -> tuple[int, int]:
    """Width and height of an object's sheet, pixels."""
    return _grid_size(views, min(_COLUMNS, views))


def thumbnail(sheet: Image.Image) -> str:
    """The first row of an object's sheet at half its size, as a data URI of about 3 kB."""
    strip = sheet.crop((0, 0, sheet.width, _TILE)).reduce(2)
    data = io.BytesIO()
    strip.save(data, format="WEBP", quality=70)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()


def overview(folders: Sequence[Path], columns: int) -> Image.Image:
    """The first view of each object; none gives an empty tile.

    Raises:
        InputError: when a view is missing or damaged.
    """
    return grid([_tile(folder / "000.png") for folder in folders] or [_blank(_TILE, _TILE)], columns)


def _tile(path: Path) -> Image.Image:
    """A picture on white, as large as a tile."""
    try:
        with Image.open(path) as image:
            # As many whole pixels as fit, so that the pixels of a small rendering can be seen.
            method = Image.Resampling.NEAREST if image.width < _TILE else Image.Resampling.LANCZOS
            rgba = image.convert("RGBA").resize((_TILE, _TILE), method, reducing_gap=3.0)
    except (OSError, UnidentifiedImageError):
        raise InputError(f"{path} is missing or damaged", "delete its folder and run viewforge render again") from None
    tile = _blank(_TILE, _TILE)
    tile.paste(rgba, mask=rgba.getchannel("A"))
    return tile


def grid(tiles: Sequence[Image.Image], columns: int) -> Image.Image:
    """Tiles of 128 × 128 pixels, row by row on white, with a gap of 2 pixels between them."""
    step = _TILE + _GAP
    sheet = _blank(*_grid_size(len(tiles), columns))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % columns * step, number // columns * step))
    return sheet


def _grid_size(tiles: int, columns: int) -> tuple[int, int]:
    rows = -(-tiles // columns)
    return columns * (_TILE + _GAP) - _GAP, rows * (_TILE + _GAP) - _GAP


def _blank(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), _PAPER)
