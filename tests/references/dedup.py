"""The autoencoder, and duplicates by comparing all codes, in plain numpy; imports nothing of progan."""

import numpy as np


def kept_by(bits: np.ndarray, distance: int) -> np.ndarray:
    """For every image the first one that stays and differs in at most ``distance`` bits, else itself.

    Args:
        bits: bool [N, B].
    """
    kept: list[int] = []
    for i, code in enumerate(bits):
        equal = [j for j in range(i) if kept[j] == j and not (bits[j] ^ code).any()]
        near = [j for j in range(i) if kept[j] == j and (bits[j] ^ code).sum() <= distance]
        kept.append((equal or near or [i])[0])
    return np.array(kept)


def standardized(images: np.ndarray) -> np.ndarray:
    """The middle 32x32 of images [N, H, W, C] as RGB, minus the mean and over the deviation + 1: float64 [N, 3072]."""
    rows = []
    for image in images.astype(np.float64):
        y, x = (image.shape[0] - 32) // 2, (image.shape[1] - 32) // 2
        part = image[y : y + 32, x : x + 32]
        color = part[:, :, :3] if part.shape[2] > 1 else np.concatenate([part] * 3, axis=2)
        rows.append((color.ravel() - color.mean()) / (color.std(ddof=1) + 1))
    return np.stack(rows)


def autoencoder(
    x: np.ndarray, mean: np.ndarray, w1: np.ndarray, b1: np.ndarray, w2: np.ndarray, b2: np.ndarray
) -> tuple[float, np.ndarray]:
    """Mean squared error without noise and dropout, and the packed signs of the code: x [N, 3072] -> [N, 16]."""
    code = (x - mean) @ w1.T + b1
    restored = np.maximum(code, 0) @ w2.T + b2
    return float(np.mean((restored - (x - mean)) ** 2)), np.packbits(code > 0, axis=1)
