"""The Parzen window estimate against a golden number, scikit-learn, plain numpy, and its closed form for one sample."""

import json
import math
import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import KernelDensity

from progan.errors import ConfigError, DataError
from progan.metrics.base import Setup
from progan.metrics.parzen import SIGMAS, Pixels, caveat, log_density, parzen, squared_distances
from references import parzen as reference

module = import_module("progan.metrics.parzen")  # not the function of that name
SETUP = Setup(height=5, width=4, channels=3)


def images(seed: int, count: int, spread: float = 30, setup: Setup = SETUP) -> torch.Tensor:
    """Images around a common one."""
    rng = np.random.default_rng(seed)
    shape = (setup.channels, setup.height, setup.width)
    common = np.random.default_rng(0).uniform(60, 200, shape)
    return torch.from_numpy(rng.normal(common, spread, (count, *shape)).clip(0, 255).astype(np.uint8))


def bank(rows: torch.Tensor, setup: Setup = SETUP) -> Pixels:
    return Pixels(setup).update(rows)


def test_log_density_equals_the_golden_numbers() -> None:
    golden = json.loads((Path(__file__).parents[1] / "golden" / "parzen.json").read_text())
    rs = np.random.RandomState(702)
    rs.uniform(size=(6, 5))
    x, samples = rs.rand(6, 12), np.array(golden["samples"])
    squared = torch.from_numpy(((x[:, None] - samples) ** 2).sum(2))
    np.testing.assert_allclose(log_density(squared, 0.2, 12).numpy(), golden["log_densities"], rtol=1e-9)


def test_log_density_equals_scikit_learn() -> None:
    x, y = images(1, 7), images(2, 50)
    ours = log_density(squared_distances(x.flatten(1), y.flatten(1)), 0.25, 60)
    density = KernelDensity(bandwidth=0.25, rtol=0, atol=0).fit(y.flatten(1).double().numpy() / 255)
    np.testing.assert_allclose(ours.numpy(), density.score_samples(x.flatten(1).double().numpy() / 255), rtol=1e-9)


@pytest.mark.parametrize("size", [12, 1024, 3000])
def test_distances_are_exact(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of black and white images, whose sums are the largest."""
    monkeypatch.setattr(module, "_SAMPLES", 3)
    rng = np.random.default_rng(size)
    x, y = (rng.integers(0, 256, (8, size)).astype(np.uint8) for _ in range(2))
    x[0], x[1], y[0], y[1] = 0, 255, 255, 0
    exact = ((x[:, None].astype(np.int64) - y.astype(np.int64)) ** 2).sum(2) / 255**2
    assert np.array_equal(squared_distances(torch.from_numpy(x), torch.from_numpy(y)).numpy(), exact)


@pytest.mark.parametrize(("real", "held_out"), [(10, 1), (57, 5)])
def test_equals_plain_numpy_for_any_blocks(real: int, held_out: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes, reals = images(1, 23), images(2, real)
    mean, error, sigma = reference.parzen(fakes.numpy(), reals.numpy(), held_out)
    wanted = {"parzen": mean, "parzen_std_error": error, "parzen_sigma": sigma}
    assert parzen(bank(fakes), bank(reals)) == pytest.approx(wanted, rel=1e-9)
    monkeypatch.setattr(module, "_BLOCK", {"cpu": 70})
    seen = []
    values = parzen(bank(fakes), bank(reals), progress=lambda done, total: seen.append((done, total)))
    assert values == pytest.approx(wanted, rel=1e-9)
    assert seen[-1] == (real, real)
    assert len(seen) > real // 4


def test_images_that_choose_sigma_are_not_part_of_the_value() -> None:
    """The first tenth are copies of a generated image, which prefer the narrowest window; the others are far away."""
    fake = images(1, 20)
    real = torch.cat([fake[:2], 255 - images(3, 18)])
    values = parzen(bank(fake), bank(real))
    assert values["parzen_sigma"] == SIGMAS[0] == 0.1
    wanted = reference.log_densities(*(x.flatten(1).numpy() / 255.0 for x in (real[2:], fake)), 0.1).mean()
    assert values["parzen"] == pytest.approx(wanted, rel=1e-9)


def test_at_most_1000_images_choose_sigma() -> None:
    setup = Setup(height=1, width=1, channels=1)
    far = torch.full((11_000, 1, 1, 1), 255, dtype=torch.uint8)
    far[:1000] = 0
    values = parzen(bank(torch.zeros(1, 1, 1, 1, dtype=torch.uint8), setup), bank(far, setup))
    assert values["parzen"] == pytest.approx(-0.5 / 0.1**2 - math.log(0.1 * math.sqrt(2 * math.pi)))
    assert values["parzen_std_error"] == 0


def test_rows_are_kept_in_order_in_memory_in_a_file_and_in_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = images(1, 30)
    monkeypatch.setattr(module, "_MEMORY", 600)  # of 60 for each image
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    whole = bank(x[:4]).update(x[4:9]).update(x[9:15]).merge(bank(x[15:]))
    assert whole.count == 30
    assert torch.equal(whole.rows, x.flatten(1))
    assert torch.equal(bank(x[:3]).load(whole.arrays()).rows, x.flatten(1))
    assert list(tmp_path.iterdir()) == []  # without a name
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"parzen: cannot write temporary files in .*none after 0 images") as caught:
        bank(x)
    assert "TMPDIR=" in str(caught.value)


def test_reports_warn_and_tell_if_sigma_is_at_the_end_of_the_range() -> None:
    x = bank(images(1, 10))
    assert caveat(x, {"parzen_sigma": 0.2}) == "a weak estimate, which can rank bad models above good ones " + (
        "(Theis et al. 2016)"
    )
    for sigma in (SIGMAS[0], SIGMAS[-1]):
        assert "may be outside the range 0.1 ... 1 " in caveat(x, {"parzen_sigma": float(sigma)})


def test_too_few_real_images() -> None:
    with pytest.raises(ConfigError, match="parzen requires 10 real images and a generated one, got 9 and 20"):
        parzen(bank(images(1, 20)), bank(images(2, 9)))
