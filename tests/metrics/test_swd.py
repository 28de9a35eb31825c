"""SWD against the plain numpy algorithm on equal corners and directions, and its properties."""

import importlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from progan.errors import ConfigError, DataError
from progan.metrics.base import Setup
from progan.metrics.swd import DIRECTIONS, SlicedPatches, corners, directions, swd
from progan.metrics.threads import mapper
from references import swd as reference

module = importlib.import_module("progan.metrics.swd")  # the package gives the function's name to the function

SIZES = [(32, 32, 3), (64, 64, 3), (32, 64, 3), (64, 32, 1), (16, 16, 3), (48, 48, 3)]


def photos(count: int, height: int, width: int, channels: int, seed: int = 0, slope: float = 1.0) -> np.ndarray:
    """Noise with the spectrum of photos, amplitudes falling as frequency to the power -slope: uint8 [N, C, H, W]."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = 1 / max(height, width)
    spectrum = np.fft.rfft2(rng.standard_normal((count, channels, height, width))) / frequency**slope
    images = np.fft.irfft2(spectrum, s=(height, width))
    images = images + 0.7 * images.mean(1, keepdims=True)  # colors go together
    return (128 + 45 * images / images.std()).round().clip(0, 255).astype(np.uint8)


def setup_of(images: np.ndarray | Tensor, stream: str = "real", seed: int = 0) -> Setup:
    _, channels, height, width = images.shape
    return Setup(height=height, width=width, channels=channels, stream=stream, seed=seed)


def gather(images: np.ndarray, stream: str = "real", seed: int = 0, batch: int = 7) -> SlicedPatches:
    patches = SlicedPatches(setup_of(images, stream, seed))
    for i in range(0, len(images), batch):
        patches.update(torch.from_numpy(images[i : i + batch]))
    return patches


def plain(fake: np.ndarray, real: np.ndarray, seed: int = 0) -> dict[str, float]:
    """The reference in float64, given our corners and directions."""
    levels = {}
    for images, stream in ((fake, "fake"), (real, "real")):
        rgb = np.repeat(images, 3 // images.shape[1], axis=1).astype(np.float64)
        levels[stream] = reference.pyramid(rgb)
    values = {}
    for a, b in zip(levels["fake"], levels["real"], strict=True):
        size, sets = a.shape[2:], []
        for level, stream in ((a, "fake"), (b, "real")):
            y, x = corners(setup_of(real, stream, seed), size, 0, len(level)).transpose(1, 0, 2)
            sets.append(reference.normalize(reference.descriptors(level, y, x)))
        vectors = directions(seed, size).reshape(4, 128, 147)
        values[f"swd_{min(size)}"] = 1e3 * reference.distance(*sets, vectors)
    return {"swd": float(np.mean(list(values.values())))} | values


@pytest.mark.parametrize("size", SIZES)
def test_equals_the_plain_algorithm(size: tuple[int, int, int]) -> None:
    """To 1e-4 of the value, the rounding of float32."""
    fake, real = photos(12, *size, seed=1, slope=1.3), photos(12, *size, seed=2)
    got = swd(gather(fake, "fake", seed=5), gather(real, "real", seed=5), seed=5)
    want = plain(fake, real, seed=5)
    assert list(got) == list(want)
    assert got == pytest.approx(want, rel=1e-4)
    assert got["swd"] > 20


def test_levels_are_named_by_the_shorter_side() -> None:
    images = photos(2, 64, 128, 3)
    assert list(swd(gather(images), gather(images))) == ["swd", "swd_64", "swd_32", "swd_16"]


def test_distance_of_a_set_from_itself_is_zero() -> None:
    images = photos(8, 32, 32, 3)
    assert set(swd(gather(images, batch=3), gather(images, batch=8)).values()) == {0.0}
    assert min(swd(gather(images, "fake"), gather(images)).values()) > 1  # other neighbourhoods
    assert min(swd(gather(images, seed=1), gather(images)).values()) > 1


def test_order_of_the_two_sets_does_not_matter() -> None:
    a, b = gather(photos(9, 32, 32, 3, seed=1), "fake"), gather(photos(9, 32, 32, 3))
    assert swd(a, b) == pytest.approx(swd(b, a), rel=1e-6)


def test_seeds_decide_everything() -> None:
    a, b = photos(9, 32, 32, 3, seed=1), photos(9, 32, 32, 3)
    assert swd(gather(a, "fake"), gather(b)) == swd(gather(a, "fake"), gather(b))
    assert swd(gather(a, "fake"), gather(b)) != swd(gather(a, "fake"), gather(b), seed=1)


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_and_contrast_of_a_set_do_not_matter(channels: int) -> None:
    """Per channel, as each set is normalized by its own moments; float images, as uint8 would be rounded."""
    a, b = (torch.from_numpy(photos(16, 32, 32, channels, seed=s)).float() for s in (1, 2))
    contrast, brightness = torch.tensor([0.3, 0.7, 0.5])[:channels], torch.tensor([90.0, 10.0, 60.0])[:channels]
    changed = a * contrast[:, None, None] + brightness[:, None, None]
    real = SlicedPatches(setup_of(b)).update(b)
    values = [swd(SlicedPatches(setup_of(x, "fake")).update(x), real) for x in (a, changed)]
    assert values[0] == pytest.approx(values[1], rel=1e-3)


def test_grey_equals_the_same_in_three_channels() -> None:
    a, b = photos(16, 32, 32, 1, seed=1, slope=1.5), photos(16, 32, 32, 1)
    want = swd(gather(a.repeat(3, 1), "fake"), gather(b.repeat(3, 1)))
    assert swd(gather(a, "fake"), gather(b)) == pytest.approx(want, rel=1e-4)
    assert swd(gather(a, "fake"), gather(b.repeat(3, 1))) == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("batch", [1, 7, 50])
@pytest.mark.parametrize("budget", [0, 1 << 19, module._MEMORY])
def test_any_batches_any_place_one_result(batch: int, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit: in batches, cut up inside, in memory, in files, and moving to files on the way."""
    images = photos(20, 32, 32, 3)
    want = gather(images, batch=20)
    monkeypatch.setattr(module, "_MEMORY", budget)
    monkeypatch.setitem(module._CHUNK, "cpu", 3 * 4 * 3 * 32 * 32)
    got = gather(images, batch=batch)
    assert got.count == 20
    for level in range(2):
        assert torch.equal(got.descriptors(level), want.descriptors(level))
    assert set(swd(got, want).values()) == {0.0}


@pytest.mark.parametrize("budget", [0, module._MEMORY])
def test_ranks_merged_equal_the_whole(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMORY", budget)
    images, other = torch.from_numpy(photos(24, 32, 32, 3)), gather(photos(24, 32, 32, 3, seed=1), "fake")
    ranks = [SlicedPatches(setup_of(images)).update(images[i : i + 8], first=i) for i in (0, 8, 16)]
    merged = ranks[2].merge(ranks[0]).merge(ranks[1])
    assert merged.count == 24
    assert swd(other, merged) == pytest.approx(swd(other, gather(images.numpy())), rel=1e-6)


@pytest.mark.parametrize("budget", [0, module._MEMORY])
def test_arrays_loaded_go_on_like_the_original(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMORY", budget)
    images = photos(12, 32, 64, 1)
    half = gather(images[:8])
    loaded = gather(images[3:5]).load(half.arrays())
    for patches in (half, loaded):
        patches.update(torch.from_numpy(images[8:]))
        assert patches.count == 12
        assert set(swd(patches, gather(images)).values()) == {0.0}


def test_corners_reach_every_place_and_depend_on_the_image_alone() -> None:
    setup = Setup(height=16, width=32, channels=1)
    where = corners(setup, (16, 32), 0, 60)
    assert [np.unique(where[:, i]).tolist() for i in (0, 1)] == [list(range(10)), list(range(26))]
    assert np.array_equal(where[17:20], corners(setup, (16, 32), 17, 3))
    for other in (replace(setup, stream="fake"), replace(setup, seed=1)):
        assert (corners(other, (16, 32), 0, 60) != where).mean() > 0.8


def test_directions_are_unit_vectors_spread_evenly() -> None:
    vectors = directions(3, (16, 16))
    assert vectors.shape == (512, 147)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.linalg.eigvalsh(vectors.T @ vectors), 512 / 147, atol=5)
    assert not np.array_equal(vectors, directions(3, (32, 32)))


def test_torch_path_equals_the_numpy_path() -> None:
    """The one that runs on CUDA, here on the processor."""
    rng = np.random.default_rng(0)
    a, b = (torch.from_numpy(rng.normal(2, scale, (5, 1000))).float() for scale in (1, 1.1))
    shift = torch.linspace(-0.5, 0.5, 5, dtype=torch.float64)
    by_torch = module._transport_torch(a, b, shift)
    want = np.abs(np.sort(a.numpy().astype(float)) - np.sort(b.numpy().astype(float)) - shift.numpy()[:, None]).mean(1)
    by_numpy = module._transport(a, b, shift, map)
    np.testing.assert_allclose(by_torch.numpy(), want, rtol=1e-5)
    np.testing.assert_allclose(by_numpy.numpy(), want, rtol=1e-5)


def test_moments_are_those_of_the_population() -> None:
    """Also where the mean is large beside the deviation, over several blocks and a rest."""
    rows = torch.from_numpy(np.random.default_rng(0).normal([[250] * 49 + [1] * 49], 0.5, (5001, 98))).float()
    mean, deviation = module.channel_moments(rows)
    channels = rows.double().numpy().reshape(-1, 2, 49)
    np.testing.assert_allclose(mean.numpy(), channels.mean((0, 2)), rtol=1e-7)
    np.testing.assert_allclose(deviation.numpy(), channels.std((0, 2)), rtol=1e-6)


def test_constant_channels_are_normalized_to_zero() -> None:
    images = photos(8, 32, 32, 3)
    flat = np.full_like(images, 77)
    assert set(swd(gather(flat, "fake"), gather(flat // 3)).values()) == {0.0}
    assert all(0 < value < 1e4 for value in swd(gather(flat, "fake"), gather(images)).values())
    blue = images * np.array([0, 0, 1], np.uint8)[:, None, None]
    assert all(0 < value < 1e4 for value in swd(gather(blue, "fake"), gather(images)).values())


def test_number_of_threads_stays_as_it_was() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        gather(photos(2, 32, 32, 1))
        with ThreadPoolExecutor(1) as pool:
            assert [torch.get_num_threads(), pool.submit(torch.get_num_threads).result()] == [3, 3]
        with mapper(torch.device("cpu")) as each:
            assert list(each(lambda _: torch.get_num_threads(), range(3))) == [1, 1, 1]
    finally:
        torch.set_num_threads(before)


def test_progress_counts_up_to_the_end() -> None:
    calls = []
    images = photos(2, 32, 32, 1)
    swd(gather(images), gather(images), progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (2 * DIRECTIONS, 2 * DIRECTIONS)
    assert calls == sorted(set(calls))


def test_sets_that_cannot_be_compared_are_named() -> None:
    a, b = gather(photos(3, 32, 32, 1), "fake"), gather(photos(5, 32, 32, 1))
    with pytest.raises(ConfigError, match="equal numbers of images: 'fake' has 3, 'real' 5; use 3 of both"):
        swd(a, b)
    with pytest.raises(ConfigError, match="images of one size: 'fake' has 32x32, 'real' 32x64"):
        swd(a, gather(photos(3, 32, 64, 1)))
    with pytest.raises(ConfigError, match="at least 1 image in each set"):
        swd(SlicedPatches(a.setup), SlicedPatches(b.setup))


def test_setups_and_images_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError, match="at least 16 pixels, got 8x8"):
        SlicedPatches(Setup(height=8, width=8, channels=3))
    with pytest.raises(ConfigError, match="1 or 3 channels, got 4"):
        SlicedPatches(Setup(height=16, width=16, channels=4))
    with pytest.raises(ConfigError, match=r"\(3, 16, 16\), got \(1, 16, 16\)"):
        SlicedPatches(Setup(height=16, width=16, channels=3)).update(torch.zeros(1, 1, 16, 16))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_full_disk_says_how_much_room_is_wanted_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - closed with the object that gets it
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)
    monkeypatch.setattr(module, "_MEMORY", 0)
    images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(DataError, match=r"(?s)in .* after 0 images: No space left.*144 MiB for every 1,000.*TMPDIR"):
        SlicedPatches(setup_of(images), tmp_path).update(images)


def test_missing_directory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMORY", 0)
    images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(DataError, match=r"temporary files in .*missing"):
        SlicedPatches(setup_of(images), tmp_path / "missing").update(images)


def test_files_lie_in_the_directory_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMORY", 0)
    images = torch.from_numpy(photos(4, 32, 32, 3))
    patches = SlicedPatches(setup_of(images), tmp_path).update(images)
    assert swd(patches, patches)["swd"] == 0
    assert len(patches.arrays()["level_32"]) == 4 * 128
    del patches
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("count", "floor"), [(64, 22.0), (256, 10.0), (1024, 5.2), (4096, 2.6)])
def test_floor_falls_with_the_root_of_the_number_of_images(count: int, floor: float) -> None:
    """Two sets of one kind, at the 32 level; SPEC section 5 gives the authors' program's values to about a third."""
    a, b = (gather(photos(count, 32, 32, 3, seed=seed), name, batch=64) for seed, name in ((1, "fake"), (2, "real")))
    assert swd(a, b)["swd_32"] == pytest.approx(floor, rel=0.33)
