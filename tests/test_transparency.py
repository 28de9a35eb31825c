import numpy as np
import torch

from progan.images import opaque
from progan.transparency import over_white
from references import store_reference as reference


def test_every_color_at_every_alpha_is_rounded_to_the_nearest_in_numpy_and_torch() -> None:
    color, alpha = np.meshgrid(np.arange(256), np.arange(256))
    exact = reference.composited(np.stack([color, alpha], -1)[..., [0, 0, 0, 1]])
    assert np.abs(exact % 1 - 0.5).min() > 1e-3  # no ties
    found = over_white(color.astype(np.uint16), alpha.astype(np.uint16))
    np.testing.assert_array_equal(found, np.rint(exact[..., 0]))
    pixels = torch.from_numpy(np.stack([color, 255 - color, color, alpha]).astype(np.uint8))[None]
    images = opaque(pixels)
    assert images.dtype == torch.uint8
    np.testing.assert_array_equal(images[0, 0], found)
    np.testing.assert_array_equal(images[0, 1], found[:, ::-1])
