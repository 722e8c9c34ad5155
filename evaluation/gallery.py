"""Pictures for people: what was trained on, and input, targets and predictions beside each other.

Pictures are drawn with Pillow and its own font, so the same arrays give the same bytes on every machine.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from evaluation.protocol import INPUT_VIEW, ObjectViews
from evaluation.scores import ObjectScores
from evaluation.shards import TrainingShards
from geometry.cameras import spherical_from_position

SHOWN_TARGETS = 8
CONTACT_OBJECTS = 24
CONTACT_VIEWS = 4
_CONTACT_COLUMNS = 3
# Sides between which a picture is legible and a report of dozens of them still small, pixels.
_SMALLEST, _LARGEST = 96, 192
_GAP, _LINE, _MARGIN = 4, 20, 84
_CAPTIONED = {"model": "model", "copy_input": "copy of the input", "mean_image": "mean image"}
_INK, _FAINT, _FRAME = (34, 34, 34), (110, 110, 110), (214, 214, 214)


@dataclass(frozen=True)
class GalleryItem:
    """One object in a gallery: RGB in [0, 1], and the azimuth of each target from the input view, degrees."""

    title: str
    caption: str
    condition: Float[np.ndarray, "h w 3"]
    targets: Float[np.ndarray, "t h w 3"]
    predictions: Float[np.ndarray, "t h w 3"]
    azimuths_deg: tuple[float, ...]


def gallery_item(views: ObjectViews, predictions: Float[np.ndarray, "t h w 3"], scores: ObjectScores) -> GalleryItem:
    """An object with at most `SHOWN_TARGETS` of its targets, evenly spread over all."""
    count = len(predictions)
    shown = np.unique(np.linspace(0, count - 1, min(SHOWN_TARGETS, count)).round().astype(int))
    azimuths = [spherical_from_position(camera[:3, 3])[1] for camera in views.c2w]
    turns = np.rad2deg(np.array(azimuths[views.first_target :]) - azimuths[INPUT_VIEW])
    return GalleryItem(
        title=views.asset.title,
        caption=_caption(count, scores),
        condition=views.condition,
        targets=views.targets[shown],
        predictions=predictions[shown],
        azimuths_deg=tuple(round(float(turn), 1) % 360 for turn in turns[shown]),
    )


def _caption(count: int, scores: ObjectScores) -> str:
    """The PSNR of model and baselines where it was asked for."""
    psnr = {method: values["psnr"] for method, values in scores.methods.items() if "psnr" in values}
    named = [f"{title} {psnr[method]:.2f} dB" for method, title in _CAPTIONED.items() if method in psnr]
    return f"PSNR over all {count} targets: {', '.join(named)}" if named else f"{count} targets"


def gallery(items: Sequence[GalleryItem]) -> Image.Image:
    """A block an object: the input on the left, then a row of targets above the row of predictions."""
    return _stacked([_block(item) for item in items])


def contact_sheet(shards: TrainingShards) -> Image.Image:
    """`CONTACT_VIEWS` views of each of the first `CONTACT_OBJECTS` training objects in order of uid."""
    strips = [_strip(shards.views(uid)) for uid in shards.uids[:CONTACT_OBJECTS]]
    width, height = strips[0].size
    columns = min(_CONTACT_COLUMNS, len(strips))
    rows = -(-len(strips) // columns)
    sheet = _blank(columns * (width + 4 * _GAP) - 4 * _GAP, rows * (height + 2 * _GAP) - 2 * _GAP)
    for number, strip in enumerate(strips):
        row, column = divmod(number, columns)
        sheet.paste(strip, (column * (width + 4 * _GAP), row * (height + 2 * _GAP)))
    return sheet


def _block(item: GalleryItem) -> Image.Image:
    tiles = [_tile(picture) for picture in item.targets]
    side = tiles[0].width
    left = _MARGIN + side + 2 * _GAP + _MARGIN
    block = _blank(left + len(tiles) * (side + _GAP), 2 * _LINE + 2 * (side + _GAP))
    draw = ImageDraw.Draw(block)
    draw.text((0, 2), item.title, fill=_INK, font=_font(15))
    draw.text((draw.textlength(item.title, _font(15)) + 14, 4), item.caption, fill=_FAINT, font=_font(13))
    top = 2 * _LINE
    _label(draw, "input", top + side // 2, _MARGIN)
    block.paste(_tile(item.condition), (_MARGIN, top))
    for row, (name, pictures) in enumerate((("target", item.targets), ("prediction", item.predictions))):
        _label(draw, name, top + row * (side + _GAP) + side // 2, left)
        for column, picture in enumerate(pictures):
            block.paste(_tile(picture), (left + column * (side + _GAP), top + row * (side + _GAP)))
    for column, azimuth in enumerate(item.azimuths_deg):
        draw.text((left + column * (side + _GAP), _LINE + 4), f"+{azimuth:g}°", fill=_FAINT, font=_font(12))
    return block


def _label(draw: ImageDraw.ImageDraw, text: str, middle: int, right: int) -> None:
    """Text that ends a little left of `right`."""
    font = _font(13)
    draw.text((right - 8 - draw.textlength(text, font), middle - 8), text, fill=_FAINT, font=font)


def _strip(views: Float[np.ndarray, "v h w 3"]) -> Image.Image:
    shown = np.unique(np.linspace(0, len(views) - 1, min(CONTACT_VIEWS, len(views))).round().astype(int))
    tiles = [_tile(views[number]) for number in shown]
    side = tiles[0].width
    strip = _blank(len(tiles) * (side + _GAP) - _GAP, side)
    for number, tile in enumerate(tiles):
        strip.paste(tile, (number * (side + _GAP), 0))
    return strip


def _tile(picture: Float[np.ndarray, "h w 3"]) -> Image.Image:
    """The picture at a legible size: small ones enlarged by a whole factor, large ones reduced; framed."""
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).round().astype(np.uint8))
    factor = max(1, -(-_SMALLEST // image.width))
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    if image.width > _LARGEST:
        image = image.resize((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    ImageDraw.Draw(image).rectangle((0, 0, image.width - 1, image.height - 1), outline=_FRAME)
    return image


def _stacked(images: Iterable[Image.Image]) -> Image.Image:
    images = list(images)
    gap = 4 * _GAP
    stacked = _blank(max(image.width for image in images), sum(image.height + gap for image in images) - gap)
    top = 0
    for image in images:
        stacked.paste(image, (0, top))
        top += image.height + gap
    return stacked


def _blank(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), (255, 255, 255))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
