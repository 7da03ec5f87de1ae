"""Encode pictures as a film that browsers play.

Owns everything that needs PyAV. It never draws: the frames are passed in.
`studio` imports it when PyAV is there, nobody else does.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import av
from attrs import frozen
from av.codec.codec import UnknownCodecError


@frozen
class Encoding:
    """A codec with the file format that it goes into."""

    codec: str
    container: str
    content_type: str
    suffix: str
    options: dict[str, str]
    container_options: dict[str, str]


# The index goes to the front, so that a browser can start at once: room is kept for
# it there (48 frames take about 2 kB), because FFmpeg's own way, the `faststart`
# flag, opens the file a second time and a file in memory has no name.
MP4_OPTIONS = {"moov_size": "16384", "fflags": "+bitexact"}

# In order of preference. PyAV's own wheels bring all three; a PyAV that was built
# on a system's FFmpeg may lack the first for its license.
ENCODINGS = (
    Encoding(
        "libx264",
        "mp4",
        "video/mp4",
        "mp4",
        {
            "preset": "veryfast",
            "crf": "27",
            "threads": "1",
            # Without it the same frames give another file every few runs.
            "x264-params": "cpu-independent=1",
        },
        MP4_OPTIONS,
    ),
    Encoding(
        "libopenh264",
        "mp4",
        "video/mp4",
        "mp4",
        {"threads": "1"},
        MP4_OPTIONS,
    ),
    Encoding(
        "libvpx-vp9",
        "webm",
        "video/webm",
        "webm",
        {"deadline": "realtime", "cpu-used": "8", "threads": "1"},
        {"fflags": "+bitexact"},
    ),
)


def choose_encoding() -> Encoding | None:
    """Return the first encoding that the installed PyAV has, else None."""
    return next((encoding for encoding in ENCODINGS if _has_encoder(encoding.codec)), None)


def encode(
    frames: Iterable[bytes], *, width: int, height: int, rate: int, encoding: Encoding
) -> bytes:
    """Return a film.

    Args:
        frames: Pictures of three bytes per pixel, row by row.
        width: Pixels; even.
        height: Pixels; even.
        rate: Frames per second.
        encoding: One of `ENCODINGS` that is available.
    """
    file = io.BytesIO()
    with av.open(
        file, "w", format=encoding.container, options=encoding.container_options
    ) as container:
        stream = container.add_stream(encoding.codec, rate=rate, options=encoding.options)
        if not isinstance(stream, av.VideoStream):
            raise TypeError(f"{encoding.codec} does not encode pictures")
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(_build_frame(pixels, width, height)))
        container.mux(stream.encode(None))
    return file.getvalue()


def _build_frame(pixels: bytes, width: int, height: int) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, "rgb24")
    plane, stride = frame.planes[0], 3 * width
    # FFmpeg may make rows longer than they need to be, for its own alignment.
    padding = bytes(plane.line_size - stride)
    rows = (pixels[at : at + stride] for at in range(0, stride * height, stride))
    plane.update(b"".join(row + padding for row in rows) if padding else pixels)
    return frame


def _has_encoder(codec: str) -> bool:
    try:
        av.Codec(codec, "w")
    except UnknownCodecError:
        return False
    return True
