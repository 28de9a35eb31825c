"""Images as progan, OpenCV and ffmpeg decode them, in one form."""

import numpy as np
import pytest

from progan.data.decoding import decode

SIZE = (13, 19)


def rgba(data: bytes) -> np.ndarray:
    """Pixels [H, W, 4] as progan gives them."""
    return np.asarray(decode(data).convert("RGBA")).astype(int)


def opencv(data: bytes) -> np.ndarray:
    """Pixels as OpenCV gives them with all channels, in the order RGB(A)."""
    cv2 = pytest.importorskip("cv2")
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return found if found.ndim == 2 else found[..., [2, 1, 0, 3][: found.shape[2]]]


def ffmpeg(data: bytes, codec: str) -> np.ndarray:
    """Pixels [H, W, 4] as ffmpeg gives them."""
    context = pytest.importorskip("av").CodecContext.create(codec, "r")
    packet = pytest.importorskip("av").Packet(data)
    frames = [*context.decode(packet), *context.decode(None)]
    return frames[0].to_ndarray(format="rgba").astype(int)


def samples(channels: int, bits: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Random numbers [H, W, C], of which the first pixels are 0 and the largest."""
    found = np.random.default_rng(0).integers(0, 1 << bits, (*size, channels), np.uint32)
    found[0, :2] = [[0], [(1 << bits) - 1]]
    return found


def as_rgba(color: np.ndarray, alpha: np.ndarray | None = None) -> np.ndarray:
    """Color [H, W, 1 or 3] and alpha [H, W], 0 ... 255 each, as [H, W, 4]."""
    alpha = np.full(color.shape[:2], 255) if alpha is None else alpha
    return np.dstack([np.broadcast_to(color, (*color.shape[:2], 3)), alpha])


def shown(pixels: np.ndarray) -> np.ndarray:
    """Pixels [H, W, 4] on white, as floats [H, W, 3]."""
    alpha = pixels[..., 3:] / 255
    return pixels[..., :3] * alpha + 255 * (1 - alpha)
