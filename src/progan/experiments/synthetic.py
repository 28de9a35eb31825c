"""Small synthetic data set, so that every experiment can be tried without data."""

import secrets
from pathlib import Path

import numpy as np
from PIL import Image

from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.store import Store
from progan.files import replacing

COUNT, SIDE, CLASSES = 128, 32, 2


def tiny_store(folder: Path) -> Store:
    """Open or make the store ``folder/synthetic`` of smooth random 32x32 RGB images in two classes."""
    images = folder / "synthetic-images"
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        path = images / f"class{i % CLASSES}/{i:03}.png"
        rough = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        if not path.exists():
            with replacing(path, token=secrets.token_hex(4)) as file:
                rough.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "PNG")
    return prepare(images, folder / "synthetic", PrepareOptions(resolution=str(SIDE)), workers=0)
