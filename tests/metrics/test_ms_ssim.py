"""MS-SSIM equals plain numpy with FFT filters, whatever the size; pairs do not depend on batches."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from progan.errors import ConfigError
from progan.metrics.base import Setup
from progan.metrics.ms_ssim import PairSimilarity, mean_similarity, ms_ssim
from references.ms_ssim import ms_ssim as reference

TOLERANCE = 1e-9  # float64 on both sides; 1e-5 is what results need


def smooth(n: int, height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Cloudy images uint8 [N, H, W, C] with structure at several scales."""
    rng = np.random.default_rng(seed)
    layers = [
        gaussian_filter(rng.normal(size=(n, height, width, channels)), (0, s, s, 0), mode="wrap") * s for s in (1, 4)
    ]
    return np.clip(128 + 150 * sum(layers), 0, 255).astype(np.uint8)


def noisy(images: np.ndarray, strength: int = 40, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(-strength, strength + 1, images.shape)
    return np.clip(images.astype(int) + noise, 0, 255).astype(np.uint8)


def tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def setup(height: int = 32, width: int = 32, channels: int = 3) -> Setup:
    return Setup(height=height, width=width, channels=channels)


SIZES = [(4, 4), (8, 8), (16, 16), (32, 32), (64, 64), (128, 128), (256, 256), (64, 128), (96, 32), (33, 50)]


@pytest.mark.parametrize(("height", "width"), [*SIZES, pytest.param(1024, 1024, marks=pytest.mark.slow)])
def test_equals_plain_numpy_at_every_size(height: int, width: int) -> None:
    images = smooth(3, height, width)
    mixed = (images.astype(int) + 2 * images[::-1]) // 3
    for others, least in ((noisy(images), 0.3), (mixed.astype(np.uint8), 0.1), (images[::-1].copy(), 0)):
        wanted = reference(images, others)
        assert (wanted >= least).all()
        ours = ms_ssim(tensor(images), tensor(others))
        assert ours.dtype == torch.float64
        np.testing.assert_allclose(ours, wanted, atol=TOLERANCE)


def test_flat_areas_need_no_more_tolerance() -> None:
    """Opposite checkerboards: |a - b| is 255 everywhere, and rounding errors of its square would add up."""
    board = np.kron(np.indices((4, 4)).sum(0) % 2, np.ones((32, 32)))[None, :, :, None].astype(np.uint8) * 255
    np.testing.assert_allclose(ms_ssim(tensor(board), tensor(255 - board)), reference(board, 255 - board), atol=1e-12)
    flat = np.broadcast_to(np.uint8(0), (1, 64, 64, 1)).copy()
    np.testing.assert_allclose(ms_ssim(tensor(flat), tensor(flat + 255)), reference(flat, flat + 255), atol=1e-12)


def test_negative_contrast_counts_as_zero() -> None:
    images = smooth(2, 64, 64)
    assert ms_ssim(tensor(images), tensor(255 - images)).tolist() == [0, 0]


def test_gray_is_the_same_alone_and_tiled() -> None:
    a, b = smooth(3, 64, 64, 1), noisy(smooth(3, 64, 64, 1))
    gray = ms_ssim(tensor(a), tensor(b))
    np.testing.assert_allclose(gray, reference(a, b), atol=TOLERANCE)
    tiled = ms_ssim(tensor(a).expand(-1, 3, -1, -1), tensor(b).expand(-1, 3, -1, -1))
    torch.testing.assert_close(tiled, gray, atol=1e-14, rtol=0)


def test_means_are_over_channels_jointly() -> None:
    """Not the mean of every channel's own MS-SSIM."""
    a, b = smooth(2, 64, 64), noisy(smooth(2, 64, 64), 90)
    b[..., 0] = a[..., 0]
    jointly = ms_ssim(tensor(a), tensor(b))
    apart = torch.stack([ms_ssim(tensor(a)[:, [c]], tensor(b)[:, [c]]) for c in range(3)]).mean(0)
    np.testing.assert_allclose(jointly, reference(a, b), atol=TOLERANCE)
    assert (jointly - apart).abs().min() > 1e-3


@pytest.mark.parametrize("size", [(192, 192), (176, 256)])
def test_agrees_with_pytorch_msssim_where_it_is_defined(size: tuple[int, int]) -> None:
    """Gray images of more than 160 pixels with contrast above 0; sides that 16 divides, as it pads odd ones.

    It works in float32.
    """
    a = smooth(3, *size, 1)
    b = noisy(a)
    other_ms_ssim = pytest.importorskip("pytorch_msssim").ms_ssim
    other = other_ms_ssim(tensor(a).float(), tensor(b).float(), data_range=255, size_average=False)
    np.testing.assert_allclose(ms_ssim(tensor(a), tensor(b)), other, atol=2e-6)


def test_equal_images_are_alike_and_the_order_does_not_matter() -> None:
    a, b = tensor(smooth(2, 32, 32)), tensor(smooth(2, 32, 32, seed=5))
    torch.testing.assert_close(ms_ssim(a, a), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(ms_ssim(a, b), ms_ssim(b, a))


def test_floats_are_taken_as_they_are() -> None:
    a, b = smooth(2, 32, 32), noisy(smooth(2, 32, 32))
    a, b = a + 0.25, b + 0.75
    np.testing.assert_allclose(ms_ssim(tensor(a), tensor(b)), reference(a, b), atol=TOLERANCE)


@pytest.mark.parametrize("cuts", [[16], [1] * 16, [3, 5, 8], [7, 0, 9], [2, 1, 13]])
def test_any_split_into_batches_gives_one_result(cuts: list[int]) -> None:
    images = smooth(16, 32, 32)
    whole = reference(images[0::2], images[1::2])
    similarity = PairSimilarity(setup())
    for part in tensor(images).split(cuts):
        batch = part.clone()
        similarity.update(batch)
        batch.zero_()  # a caller may use its memory again
    assert similarity.count == 16
    np.testing.assert_allclose(similarity.values, whole, atol=TOLERANCE)
    result = mean_similarity(similarity)
    assert result["ms_ssim"] == pytest.approx(whole.mean(), abs=TOLERANCE)
    assert result["ms_ssim_std_error"] == pytest.approx(whole.std(ddof=1) / 8**0.5, abs=TOLERANCE)


def test_chunks_of_images_and_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = tensor(smooth(4, 48, 40)), tensor(noisy(smooth(4, 48, 40)))
    whole = ms_ssim(a, b)
    monkeypatch.setattr("progan.metrics.ms_ssim._CHUNK", 1)
    monkeypatch.setattr("progan.metrics.ms_ssim._STRIP", 1)
    torch.testing.assert_close(ms_ssim(a, b), whole, atol=1e-13, rtol=0)


def test_merging_arrays_and_loading_keep_the_image_that_waits() -> None:
    images = tensor(smooth(8, 32, 32))
    whole = PairSimilarity(setup()).update(images)
    first, second = PairSimilarity(setup()).update(images[:4]), PairSimilarity(setup()).update(images[4:7])
    copy = PairSimilarity(setup()).load(first.merge(second).arrays())
    assert copy.count == 7
    torch.testing.assert_close(copy.update(images[7:]).values, whole.values, atol=1e-13, rtol=0)


def test_a_part_with_an_image_that_waits_cannot_be_followed() -> None:
    images = tensor(smooth(4, 32, 32))
    odd = PairSimilarity(setup()).update(images[:3])
    odd.merge(PairSimilarity(setup()))  # nothing
    assert odd.count == 3
    with pytest.raises(ConfigError, match="only an even number of images can be merged with more, got 3"):
        odd.merge(PairSimilarity(setup()).update(images))


def test_too_few_images() -> None:
    similarity = PairSimilarity(setup())
    with pytest.raises(ConfigError, match="requires at least 2 images, got 0"):
        mean_similarity(similarity)
    similarity.update(tensor(smooth(1, 32, 32)))
    with pytest.raises(ConfigError, match="requires at least 2 images, got 1"):
        mean_similarity(similarity)
    similarity.update(tensor(smooth(1, 32, 32)))
    assert mean_similarity(similarity)["ms_ssim"] == pytest.approx(1)
    assert np.isnan(mean_similarity(similarity)["ms_ssim_std_error"])
