"""Videos written frame by frame: MP4 (H.264), GIF, or a folder of PNG files."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from progan.errors import ConfigError, DataError
from progan.files import replacing
from progan.images import save_png

CRF = 18
"""Constant rate factor of H.264 with hardly visible losses; 0 is lossless, 51 is the lowest quality."""
_BT709 = 1  # its number in H.264 for primaries, transfer and matrix; players guess wrongly where nothing is said
_WIDEST = 16_384  # pixels that x264 takes
_EVEN = "mbtree=0"  # else x264 saves on the last frames, because none builds on them, and a loop jumps where it closes
_GIF_FPS = 50  # a GIF counts hundredths of a second, and browsers slow down those that show a frame for one only


def check_film(path: Path, fps: int) -> None:
    """Check that a video can be written to ``path``, before any frame is made.

    Raises:
        ConfigError: if the extension is unknown, the rate is not possible, or the required package is missing.
        DataError: if a folder of frames is not empty.
    """
    suffix = path.suffix.lower()
    if suffix not in _WRITERS and suffix:
        raise ConfigError(
            f"{path}: a video ends in .mp4 or .gif; a name without an extension becomes a folder of PNG files"
        )
    if not 1 <= fps <= 1000:
        raise ConfigError(f"fps must be 1 ... 1000, got {fps}")
    if suffix == ".gif" and fps > _GIF_FPS:
        raise ConfigError(f"{path}: a GIF shows at most {_GIF_FPS} frames per second, got {fps}; try --fps 25")
    if suffix and path.is_dir():
        raise DataError(f"{path}: is a folder; choose another name for the video")
    if suffix:
        _av()
    elif path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DataError(f"{path}: already exists, and frames require a new folder; delete it or choose another name")


def check_size(height: int, width: int) -> None:
    """Check that an MP4 can have frames of this size [pixels], before any of them is made.

    Raises:
        ConfigError: if it cannot.
    """
    if max(height, width) > _WIDEST:
        raise ConfigError(
            f"an MP4 has at most {_WIDEST} pixels per side, got {height}x{width}; try a smaller --grid or --enlarge"
        )


def save_film(frames: Iterable[np.ndarray], path: Path, *, fps: int, crf: int = CRF) -> None:
    """Write frames as they come; an MP4 or GIF is written whole or not at all.

    In an MP4, odd sizes become even by repeating the last row or column.

    Args:
        frames: at least one, uint8 [H, W, 3], all of one size; only a few are in memory at a time.
        path: file that ends in .mp4 or .gif, or a folder for PNG files.
        fps: frames per second.
        crf: constant rate factor of an MP4.

    Raises:
        ConfigError, DataError: see ``check_film``; or if the file cannot be written.
    """
    check_film(path, fps)
    write = _WRITERS.get(path.suffix.lower())
    try:
        if write is None:
            for i, frame in enumerate(frames):
                save_png(Image.fromarray(frame), path / f"{i:06d}.png")
        else:
            with replacing(path) as file:
                # By name, so that FFmpeg says why a disk refuses; with its protocol, because names may contain colons.
                write(iter(frames), f"file:{Path(file.name).absolute()}", fps, crf)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


def _write_mp4(frames: Iterator[np.ndarray], file: str, fps: int, crf: int) -> None:
    av, first = _av(), next(frames)
    check_size(*first.shape[:2])
    with av.open(file, "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf), "x264-params": _EVEN})
        stream.height, stream.width = (side + side % 2 for side in first.shape[:2])
        codec = stream.codec_context
        codec.pix_fmt = "yuv420p"  # all that browsers and phones show
        codec.colorspace = codec.color_primaries = codec.color_trc = codec.color_range = _BT709
        for frame in chain([first], frames):
            even = np.pad(frame, [(0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)], "edge")
            picture = av.VideoFrame.from_ndarray(even, format="rgb24")
            container.mux(stream.encode(picture.reformat(format="yuv420p", dst_colorspace="ITU709")))
        container.mux(stream.encode())


def _write_gif(frames: Iterator[np.ndarray], file: str, fps: int, _crf: int) -> None:
    """Write each frame with its own palette of 256 colors."""
    av, first = _av(), next(frames)
    with av.open(file, "w", format="gif") as container:
        stream = container.add_stream("gif", rate=fps)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "pal8"
        graph = _palette_graph(stream.height, stream.width, fps)
        for i, frame in enumerate(chain([first], frames)):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = i, Fraction(1, fps)
            graph.push(picture)
            container.mux([packet for ready in _pulled(graph) for packet in stream.encode(ready)])
        graph.push(None)
        container.mux([packet for ready in _pulled(graph) for packet in stream.encode(ready)])
        container.mux(stream.encode())


def _palette_graph(height: int, width: int, fps: int) -> Any:
    """FFmpeg's filters that choose a palette for each frame and dither with it."""
    graph = _av().filter.Graph()
    source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=Fraction(1, fps))
    split, sink = graph.add("split"), graph.add("buffersink")
    colors, use = graph.add("palettegen", "stats_mode=single"), graph.add("paletteuse", "new=1")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(colors, 1, 0)
    colors.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


def _pulled(graph: Any) -> Iterator[Any]:
    """Frames that have passed the filters."""
    av = _av()
    while True:
        try:
            yield graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return


def _av() -> Any:
    """PyAV, which includes FFmpeg's libraries."""
    try:
        import av
    except ImportError:
        raise ConfigError(
            "MP4 and GIF require an encoder that is not installed\n"
            "  fix:   pip install 'progan[video]', or pass a folder for PNG files"
        ) from None
    return av


_WRITERS: dict[str, Callable[[Iterator[np.ndarray], str, int, int], None]] = {
    ".mp4": _write_mp4,
    ".gif": _write_gif,
}
