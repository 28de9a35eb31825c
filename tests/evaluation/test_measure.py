import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from progan.devices import pick_device
from progan.errors import ConfigError
from progan.evaluation.measure import Measurement
from progan.evaluation.sets import ImageSet, of_array
from progan.metrics import METRICS, extractors
from progan.metrics.base import Setup
from progan.metrics.extractors import Outputs
from progan.metrics.moments import Moments, frechet_distance
from progan.metrics.ms_ssim import PairSimilarity, mean_similarity
from progan.metrics.swd import SlicedPatches, swd


class Blocks:
    """Means of 2x2 blocks of pixels, and a softmax of them."""

    name, hash, features, note = "inception", "0123456789abcdef", 64 * 3, "synthetic weights"
    images = 0

    def __call__(self, images: Tensor) -> Outputs:
        Blocks.images += len(images)
        features = torch.nn.functional.avg_pool2d(images.float(), 2).flatten(1) / 255
        return Outputs(features=features, probabilities=features.softmax(1))


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(extractors.EXTRACTORS, "inception", lambda weights, device: Blocks())
    Blocks.images = 0


def images(seed: int, count: int = 300, side: int = 16, channels: int = 3) -> np.ndarray:
    """Smooth random images."""
    rough = torch.from_numpy(np.random.default_rng(seed).uniform(0, 255, (count, channels, 4, 4)))
    smooth = torch.nn.functional.interpolate(rough, (side, side), mode="bicubic").clamp(0, 255)
    return smooth.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def a_set(seed: int, **options: int) -> ImageSet:
    return of_array(images(seed, **options), name=f"set{seed}")


def statistic(kind, source: ImageSet, first: int, count: int, stream: str, *, extract: bool = False):
    made = kind(Setup(height=16, width=16, channels=3, seed=0, stream=stream))
    rows = source.read(first, count)
    return made.update(Blocks()(rows).features if extract else rows)


def test_values_are_those_of_the_metrics_on_the_sets_in_their_order() -> None:
    fake, real = a_set(1), a_set(2)
    report = Measurement(real, ["swd", "ms_ssim", "fid"], count=100)(fake)
    by_name = {result.metric: result for result in report.results}
    patches = [statistic(SlicedPatches, s, 0, 100, stream) for s, stream in ((fake, "fake"), (real, "real"))]
    assert by_name["swd"].values == pytest.approx(swd(*patches))
    other = statistic(SlicedPatches, real, 100, 100, "floor")
    again = statistic(SlicedPatches, real, 0, 100, "real")
    assert by_name["swd"].real_values == pytest.approx(swd(other, again))
    pairs = statistic(PairSimilarity, fake, 0, 100, "fake")
    assert by_name["ms_ssim"].values == pytest.approx(mean_similarity(pairs))
    moments = [statistic(Moments, s, 0, 100, "x", extract=True) for s in (fake, real)]
    assert by_name["fid"].values == {"fid": pytest.approx(frechet_distance(*moments))}


def test_result_tells_all_that_decides_it() -> None:
    report = Measurement(a_set(2), ["fid", "swd", "inception"], count=60, seed=3, mirror=True)(a_set(1))
    fid, distance, score = report.results
    assert (fid.count, fid.real_count, fid.floor_count, fid.paper_count, fid.seed) == (60, 60, 60, 50_000, 3)
    assert (fid.extractor, fid.extractor_hash) == ("inception", "0123456789abcdef")
    assert "no more images than features" in fid.note
    assert fid.note.endswith("; synthetic weights")
    assert (distance.extractor, distance.extractor_hash, distance.note) == ("", "", "")
    assert (score.real_count, score.floor_count) == (0, 60)
    assert report.mirror
    assert (report.fake["name"], report.real["count"]) == ("set1", 300)  # type: ignore[index]
    assert report.fake["hash"] == of_array(images(1), name="x").hash[:16]


def test_equal_sets_have_distance_zero_in_features() -> None:
    report = Measurement(a_set(1), ["fid", "kid", "precision_recall"], count=200)(a_set(1))
    values = {key: value for result in report.results for key, value in result.values.items()}
    assert values["fid"] == pytest.approx(0, abs=1e-9)
    assert values["precision"] == values["recall"] == 1


def test_floor_uses_other_images_or_else_the_two_halves() -> None:
    real = a_set(2)
    enough, too_few = (Measurement(real, ["swd"], count=n)(a_set(1)).results[0] for n in (150, 300))
    assert (enough.floor_count, too_few.floor_count) == (150, 150)
    assert enough.real_values == pytest.approx(too_few.real_values)
    assert Measurement(real, ["swd"], count=100, floor=False)(a_set(1)).results[0].real_values == {}


def test_default_is_the_papers_number_or_as_many_as_there_are() -> None:
    report = Measurement(a_set(2, count=120), ["swd", "fid", "ms_ssim"])(a_set(1, count=300))
    counts = [(r.count, r.real_count) for r in report.results]
    assert counts == [(120, 120), (300, 120), (300, 0)]


def test_real_statistics_are_gathered_once_and_found_in_the_cache() -> None:
    measurement = Measurement(a_set(2), ["fid", "kid", "inception"], count=100)
    first = measurement(a_set(1))
    assert Blocks.images == 100 + 3 * 100 + 2 * 100  # fakes, reals of three statistics, floors of two
    seen = Blocks.images
    assert measurement(a_set(1)) == first
    assert Blocks.images == seen + 100
    again = Measurement(a_set(2), ["fid", "kid", "inception"], count=100)(a_set(1))
    assert Blocks.images == seen + 200
    assert again == first
    Measurement(a_set(2), ["fid"], count=100, mirror=True)(a_set(1))
    Measurement(a_set(2), ["fid"], count=100, seed=1)(a_set(1))
    Measurement(a_set(3), ["fid"], count=100)(a_set(1))
    Measurement(of_array(images(2), name="set2", order="file"), ["fid"], count=100)(a_set(1))
    assert Blocks.images == seen + 200 + 4 * 300  # each of them needs other statistics


def test_other_weights_are_not_confused_in_the_cache(monkeypatch) -> None:
    Measurement(a_set(2), ["fid"], count=100, floor=False)(a_set(1))
    monkeypatch.setattr(Blocks, "hash", "f" * 16)
    seen = Blocks.images
    Measurement(a_set(2), ["fid"], count=100, floor=False)(a_set(1))
    assert Blocks.images == seen + 200


def test_mirrored_reals_are_mirrored() -> None:
    fake = a_set(1)
    plain, mirrored = (
        Measurement(a_set(2), ["fid"], count=100, mirror=m)(fake).results[0].value for m in (False, True)
    )
    assert plain != mirrored


def test_grey_and_other_shapes() -> None:
    grey = [of_array(images(s, channels=1, side=32)[:, :16], name="g") for s in (1, 2)]
    report = Measurement(grey[1], ["swd", "ms_ssim"], count=40)(grey[0])
    assert report.size == (16, 32, 1)
    assert all(math.isfinite(result.value) for result in report.results)


def test_metrics_that_compare_nothing_need_no_reals() -> None:
    report = Measurement(None, ["ms_ssim", "inception"], count=50)(a_set(1))
    assert report.real is None
    assert all(r.real_values == {} and r.real_count == 0 for r in report.results)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["fids"]}, "unknown metric 'fids'; choose from swd, ms_ssim, fid"),
        ({"names": []}, "no metric given"),
        ({"names": ["swd"], "real": None}, "swd compares two sets: pass the real images too"),
        (
            {"names": ["swd"], "count": 301},
            "too few images for swd: set1 has 300, expected 301 of each set; pass --count 300",
        ),
        ({"names": ["swd"], "count": 1}, "count must be at least 2"),
        (
            {"names": ["swd"], "weights": Path("w.pth")},
            "w.pth: one file of weights, but .* required by swd are: none",
        ),
    ],
)
def test_what_cannot_be_measured(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Measurement(**{"real": a_set(2), **options})(a_set(1))


def test_too_small_images_and_too_few() -> None:
    with pytest.raises(ConfigError, match=r"swd is not defined below 16 pixels: set1 has 8x8"):
        Measurement(a_set(2, side=8), ["swd"])(a_set(1, side=8))
    with pytest.raises(ConfigError, match=r"too few images for inception: set1 has 9, expected 10 of each set$"):
        Measurement(None, ["inception"])(a_set(1, count=9))


def test_every_part_of_a_measurement_uses_the_gpu_that_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without such a GPU, tensors stay where they are, and what they were meant for is recorded."""
    seen: dict[str, set[str]] = {"tensor": set(), "extractor": set(), "statistic": set()}
    to = Tensor.to

    def moved(tensor: Tensor, *where: object, **more: object) -> Tensor:
        if "cuda" not in str(where[0]):
            return to(tensor, *where, **more)  # type: ignore[call-overload]
        seen["tensor"].add(str(where[0]))
        return tensor

    def extractor(_weights: Path | None, device: str) -> Blocks:
        seen["extractor"].add(device)
        return Blocks()

    def statistic(setup: Setup) -> PairSimilarity:
        seen["statistic"].add(setup.device)
        return PairSimilarity(setup)

    monkeypatch.setattr(Tensor, "to", moved)
    monkeypatch.setitem(extractors.EXTRACTORS, "inception", extractor)
    monkeypatch.setitem(METRICS, "ms_ssim", replace(METRICS["ms_ssim"], statistic=statistic))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    Measurement(a_set(2), ["ms_ssim", "inception"], count=20, device=pick_device("cuda:1"))(a_set(1))
    assert seen == {kind: {"cuda:1"} for kind in seen}


def test_pairs_are_of_images_that_belong_together() -> None:
    pixels = images(1, count=20)
    real, noisy = a_set(1, count=20), pixels ^ 2
    fake = replace(of_array(noisy, name="fakes"), inputs=real.hash)  # both in the order of the seed
    result = Measurement(real, ["psnr"])(fake).results[0]
    assert result.values == pytest.approx({"psnr": 20 * math.log10(255 / 2), "psnr_std": 0, "psnr_equal": 0})
    assert (result.count, result.real_count, result.real_values) == (20, 20, {})
    some = Measurement(real, ["psnr"], count=7)(fake).results[0]
    assert (some.count, some.value) == (7, pytest.approx(result.value))
    by_file = [of_array(array, name="set", order="file") for array in (noisy, pixels)]
    assert Measurement(by_file[1], ["psnr"])(by_file[0]).results[0].value == pytest.approx(result.value)


@pytest.mark.parametrize("fake", ["of others", "without inputs", "of another number"])
def test_images_without_originals_have_no_psnr(fake: str) -> None:
    real = of_array(images(1, count=20), name="reals", order="file")
    order = "file" if fake == "of another number" else "seed"
    other = of_array(images(2, count=19), name="fakes", order=order)
    other = replace(other, inputs="0123" if fake == "of others" else "")
    with pytest.raises(ConfigError, match=r"originals, which reals does not contain; pass the same images as --inputs"):
        Measurement(real, ["psnr"])(other)
    with pytest.raises(ConfigError, match="psnr compares images with their originals; omit --mirror"):
        Measurement(real, ["psnr"], mirror=True)(replace(other, inputs=real.hash))


def test_table_of_metrics_is_sound() -> None:
    for name, metric in METRICS.items():
        assert metric.title
        assert (metric.on == "images") == (metric.extractor is None)
        assert metric.least >= 2 <= metric.paper_count
        if metric.extractor == "efficientnet_lite0":
            assert name.endswith("_lite0")
            assert metric.key.endswith("_lite0")  # never called FID or KID


def test_gpus_measure_in_float32(monkeypatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    Measurement(a_set(2, count=4), ["swd"])
    assert not torch.backends.cudnn.allow_tf32
