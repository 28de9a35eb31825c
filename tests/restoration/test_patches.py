"""Parts of images and the distance of images, against plain numpy."""

import numpy as np
import pytest
import torch

from progan.errors import ConfigError
from progan.images import to_float
from progan.restoration.patches import patches, psnr, squared_error
from references import restoration


def test_parts_lie_where_the_places_say() -> None:
    images = torch.arange(4 * 3 * 7 * 9).view(4, 3, 7, 9).float()
    almost = float(np.nextafter(np.float32(1), np.float32(0)))
    places = torch.tensor([[0, 0], [almost, almost], [0.5, 0.25], [1.0, 1.0]])  # a draw may round to 1
    corners = [(0, 0), (3, 5), (2, 1), (3, 5)]
    parts = patches(images, places, 4)
    for n, (top, left) in enumerate(corners):
        assert torch.equal(parts[n], images[n, :, top : top + 4, left : left + 4])


def test_every_place_is_as_likely() -> None:
    images = torch.arange(4.0).view(1, 1, 1, 4).expand(900, 1, 3, 4)
    places = torch.stack([torch.zeros(900), torch.arange(900) / 900], 1)
    assert patches(images, places, 3)[:, 0, 0, 0].unique(return_counts=True)[1].tolist() == [450, 450]


def test_side_zero_is_the_whole_image() -> None:
    images = torch.rand(2, 3, 5, 6)
    assert patches(images, torch.rand(2, 2), 0) is images


def test_small_images_are_an_error_that_names_both_sizes() -> None:
    with pytest.raises(ConfigError, match="at least 8x8, these are 7x9"):
        patches(torch.zeros(1, 3, 7, 9), torch.zeros(1, 2), 8)


def test_psnr_is_the_textbook_formula() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 5, 8, 8, 3), dtype=np.uint8)
    b[0] = a[0] ^ 1  # about 48 dB
    ours = psnr(*(to_float(torch.from_numpy(x).permute(0, 3, 1, 2)) for x in (a, b)))
    assert ours.tolist() == pytest.approx([restoration.psnr(x, y) for x, y in zip(a, b, strict=True)], abs=1e-3)


def test_squared_error_is_a_mean_of_each_sample() -> None:
    a = torch.zeros(2, 3, 2, 2)
    a[1, 0, 0, 0] = 2
    assert squared_error(a, torch.zeros_like(a)).tolist() == pytest.approx([0, 4 / 12])
