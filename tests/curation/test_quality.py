import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from progan.curation.quality import quality


def natural(seed: int, side: int = 128) -> Image.Image:
    """A photograph's crop, or noise with the 1 / f^2 power of photographs."""
    if seed < 2:
        load_sample_image = pytest.importorskip("sklearn.datasets").load_sample_image
        return Image.fromarray(load_sample_image(("china.jpg", "flower.jpg")[seed])[200:328, 250:378])
    noise = np.fft.fft2(np.random.default_rng(seed).normal(size=(side, side, 3)), axes=(0, 1))
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    picture = np.fft.ifft2(noise / np.maximum(radius, 1 / side)[..., None] ** 1.2, axes=(0, 1)).real
    return Image.fromarray(np.clip(127 + 45 * picture / picture.std(), 0, 255).astype(np.uint8))


def halftone(image: Image.Image, pitch: float, degrees: float) -> Image.Image:
    """Black dots of growing size on a turned grid, as in print."""
    y, x = np.mgrid[: image.height, : image.width]
    t, w = np.deg2rad(degrees), 2 * np.pi / pitch
    screen = np.cos(w * (x * np.cos(t) + y * np.sin(t))) + np.cos(w * (y * np.cos(t) - x * np.sin(t)))
    return Image.fromarray(np.where(np.asarray(image) > (screen[..., None] + 2) * 255 / 4, 255, 0).astype(np.uint8))


def shrunk(image: Image.Image) -> Image.Image:
    small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
    return small.resize(image.size, Image.Resampling.BICUBIC)


def jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=10)
    return Image.open(file).convert("RGB")


WORSE = {
    "blur 1.5": lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
    "blur 2": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "enlarged": shrunk,
    "half-tone 4": lambda image: halftone(image, 4, 45),
    "half-tone 5.3": lambda image: halftone(image, 5.3, 20),
    "jpeg 10": jpeg,
}


@pytest.mark.parametrize("worse", WORSE)
@pytest.mark.parametrize("seed", range(6))
def test_worse_copies_rank_lower(worse: str, seed: int) -> None:
    image = natural(seed)
    assert quality(np.asarray(WORSE[worse](image))) < quality(np.asarray(image)) - 0.05


def test_contrast_and_quarter_turns_hardly_matter() -> None:
    pixels = np.asarray(natural(0))
    assert quality((pixels * 0.7 + 30).astype(np.uint8)) == pytest.approx(quality(pixels), abs=0.15)
    assert quality(np.rot90(pixels)) == pytest.approx(quality(pixels), abs=0.15)


def test_grey_equals_equal_colors_and_flat_is_finite() -> None:
    grey = np.asarray(natural(0).convert("L"))
    assert quality(grey) == pytest.approx(quality(np.repeat(grey[..., None], 3, 2)), abs=1e-6)
    assert np.isfinite(quality(np.zeros((64, 64, 3), np.uint8)))
