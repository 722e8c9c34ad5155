"""Videos that browsers and players show: H.264 in MP4, through PyAV, whose wheel brings the encoder."""

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from jaxtyping import UInt8

from stage.files import remove_abandoned, replacing

# Hard to tell from lossless.
_QUALITY = "20"
# With its macroblock tree x264 (build 165) now and then gives other bytes for the same frames; size and looks hardly change.
_REPEATABLE = "mbtree=0"
# Players show no other sampling of chroma, and it needs even sides.
_PIXELS = "yuv420p"


def write_video(path: Path, frames: Iterable[UInt8[np.ndarray, "h w 3"]], size: int, frames_per_second: int) -> None:
    """Write square sRGB frames as a video, atomically; the same frames give the same bytes.

    Args:
        path: ends in `.mp4`.
        frames: in order; they are encoded as they come.
        size: width and height of each, pixels, even.
        frames_per_second: of the video.
    """
    # It takes minutes, in a folder of the user's, which no stage cleans.
    remove_abandoned(path)
    options = {"crf": _QUALITY, "threads": "1", "x264-params": _REPEATABLE}
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=frames_per_second, options=options)
        stream.width, stream.height, stream.pix_fmt = size, size, _PIXELS
        _declare_colours(stream.codec_context)
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=_PIXELS, dst_colorspace=Colorspace.ITU709)))
        container.mux(stream.encode(None))


def _declare_colours(encoder: av.VideoCodecContext) -> None:
    """Say what the numbers mean: players guess by the size of the picture where a file does not, and colours shift."""
    encoder.colorspace = Colorspace.ITU709
    encoder.color_primaries = ColorPrimaries.BT709
    encoder.color_trc = ColorTrc.IEC61966_2_1
    encoder.color_range = ColorRange.MPEG
