"""Conversion of images: uint8 <-> [-1, 1], grids of images, PNG files. Range and layout change nowhere else."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from progan.files import replacing
from progan.transparency import over_white


def to_float(images: Tensor) -> Tensor:
    """Convert uint8 images to [-1, 1].

    Shape: uint8 [N, C, H, W] -> float32 of the same shape and memory format.
    """
    return images.to(torch.float32).mul_(2 / 255).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Convert images in [-1, 1] to the nearest of 0 ... 255; values outside of the range are clipped.

    Shape: float [N, C, H, W] -> uint8 of the same shape.
    """
    return images.float().add(1).mul(255 / 2).round().clamp(0, 255).to(torch.uint8)


def opaque(images: Tensor) -> Tensor:
    """Composite RGBA images uint8 [N, 4, H, W] over white, as 'prepare' does; return others unchanged."""
    if images.shape[1] != 4:
        return images
    pixels = images.to(torch.int32)
    return over_white(pixels[:, :3], pixels[:, 3:]).to(torch.uint8)


def scaled(images: Tensor, size: tuple[int, int], *, smooth: bool = False) -> Tensor:
    """Resize images to another height and width, by nearest neighbor or, if ``smooth``, with a Lanczos filter.

    Shape: uint8 [N, 1 or 3, H, W] -> uint8 [N, 1 or 3, *size] on the CPU.
    """
    if tuple(images.shape[2:]) == size:
        return images.cpu()
    how = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    pictures = [to_pil(pixels).resize((size[1], size[0]), how) for pixels in images.cpu().permute(0, 2, 3, 1).numpy()]
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    return torch.from_numpy(pixels.reshape(*pixels.shape[:3], -1)).permute(0, 3, 1, 2)


def sheet(images: Tensor, columns: int | None = None, *, gap: int = 2, enlarge: int | None = None) -> Image.Image:
    """Arrange images in a grid, row by row, with white gaps.

    Args:
        images: uint8 [N, C, H, W]; C is 1 (grayscale), 3 (RGB) or 4 (RGBA).
        columns: images per row; by default as many as rows.
        gap: white pixels between images.
        enlarge: integer factor by which images are enlarged; by default to a shorter side of up to 64 pixels.
    """
    n, channels, *size = images.shape
    enlarge = enlarge or max(1, 64 // min(size))
    columns = columns or math.ceil(math.sqrt(n))
    tiles = images.cpu().permute(0, 2, 3, 1).numpy().repeat(enlarge, 1).repeat(enlarge, 2)  # [N, H, W, C]
    height, width = tiles.shape[1] + gap, tiles.shape[2] + gap
    canvas = np.full((math.ceil(n / columns) * height - gap, columns * width - gap, channels), 255, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = (i // columns) * height, (i % columns) * width
        canvas[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return to_pil(canvas)


def pairs_sheet(originals: Tensor, images: Tensor, columns: int = 8) -> Image.Image:
    """Arrange images in a grid, each below its original, with a wider gap below each row of pairs.

    Shape: uint8 [N, C, H, W], uint8 [N, C, H, W].
    """
    pairs = zip(originals.split(columns), images.split(columns), strict=True)
    rows = [sheet(torch.cat([above, below]), len(above)) for above, below in pairs]
    gap = rows[0].height // 8
    canvas = Image.new(rows[0].mode, (rows[0].width, len(rows) * (rows[0].height + gap) - gap), "white")
    for i, row in enumerate(rows):
        canvas.paste(row, (0, i * (row.height + gap)))
    return canvas


def beside(left: Image.Image, right: Image.Image, *, gap: int = 16) -> Image.Image:
    """Place two pictures side by side, with a white gap [pixels]."""
    canvas = Image.new("RGB", (left.width + gap + right.width, max(left.height, right.height)), "white")
    canvas.paste(left)
    canvas.paste(right, (left.width + gap, 0))
    return canvas


def to_pil(pixels: np.ndarray) -> Image.Image:
    """Return a Pillow image of uint8 pixels [H, W, C]; C is 1, 3 or 4."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG file atomically."""
    with replacing(path) as file:
        image.save(file, format="PNG")
