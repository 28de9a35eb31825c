"""The tensor functions against numpy in float64: values, first and second derivatives, gradients everywhere finite."""

import numpy as np
import pytest
import torch

from progan.ops import downscale2, fade_images, minibatch_stddev, pixel_norm, upscale2
from references import derivatives
from references import networks as reference

# Values of TensorFlow-GAN's layers_test.py, recomputed in float64 (PEERS 4.1); here as [N, C, H, W].
X = np.array(
    [
        [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]],
        [[[0, 0, 0], [-1, -2, -3]], [[1, -2, 2], [2, 5, 3]]],
    ],
    np.float32,
).transpose(0, 3, 1, 2)


def randn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def stddev_reference(group):
    return lambda x: reference.minibatch_stddev(x, group)


FUNCTIONS = {  # ours, reference, input; each keeps or changes H and W in its own way
    "pixel_norm_maps": (pixel_norm, lambda x: reference.pixel_norm(x, 1), randn(3, 5, 4, 6)),
    "pixel_norm_latents": (pixel_norm, lambda x: reference.pixel_norm(x, 1), randn(7, 9)),
    "pixel_norm_one_map": (pixel_norm, lambda x: reference.pixel_norm(x, 1), 1e-4 * randn(2, 1, 3, 3)),
    "pixel_norm_wide": (pixel_norm, lambda x: reference.pixel_norm(x, 1), 3 * randn(1, 128, 2, 4)),
    # Next to the epsilon: mean squares of 1e-8 and far below.
    "pixel_norm_faint": (pixel_norm, lambda x: reference.pixel_norm(x, 1), 1e-4 * randn(2, 16, 3, 5)),
    "pixel_norm_fainter": (pixel_norm, lambda x: reference.pixel_norm(x, 1), 1e-6 * randn(2, 16, 3, 5)),
    "stddev_whole_batch": (lambda x: minibatch_stddev(x, 16), stddev_reference(16), randn(6, 3, 4, 4)),
    "stddev_groups_of_2": (lambda x: minibatch_stddev(x, 2), stddev_reference(2), randn(6, 3, 4, 4)),
    "stddev_groups_of_4": (lambda x: minibatch_stddev(x, 4), stddev_reference(4), randn(12, 2, 4, 8)),
    "upscale2": (upscale2, reference.upscale, randn(2, 3, 3, 5)),
    "downscale2": (downscale2, reference.downscale, randn(2, 3, 6, 10)),
    "fade_images": (
        lambda x: fade_images(x, torch.tensor(0.25)),
        lambda x: 0.25 * x + 0.75 * reference.upscale(reference.downscale(x)),
        randn(2, 3, 4, 8),
    ),
}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def as_tensor(x, layout="contiguous"):
    return torch.from_numpy(x).contiguous(memory_format=LAYOUTS[layout] if x.ndim == 4 else torch.contiguous_format)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_value_is_that_of_the_reference(name: str, layout: str) -> None:
    ours, theirs, x = FUNCTIONS[name]
    want = theirs(x.astype(np.float64))
    got = ours(as_tensor(x, layout))
    assert got.shape == want.shape
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), want, rtol=2e-6, atol=1e-6 * np.abs(want).max())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_first_and_second_derivatives_are_those_of_the_reference(name: str, layout: str) -> None:
    """For phi(x, u) = <u, f(x)>: its gradient whole, and <that, directions> differentiated again by x and by u.

    To 1e-5 of the largest value of an array, or of the two norms that a scalar is the product of.
    """
    ours, theirs, x = FUNCTIONS[name]
    exact = x.astype(np.float64)
    u = randn(*theirs(exact).shape, seed=1)
    t = randn(*u.shape, seed=4)
    v, w = (np.abs(x).max() * randn(*x.shape, seed=s) for s in (2, 3))  # steps in proportion to x, which may be tiny

    a, b = as_tensor(x, layout).requires_grad_(True), torch.from_numpy(u).requires_grad_(True)
    (slope,) = torch.autograd.grad((ours(a) * b).sum(), a, create_graph=True)
    by_x, by_u = torch.autograd.grad((slope * torch.from_numpy(v)).sum(), (a, b), materialize_grads=True)

    def phi(x, u):
        return (theirs(x) * u).sum()

    where = exact, u.astype(np.float64)
    whole = derivatives.gradient(lambda x: np.array([phi(one, u) for one in x]), exact)
    close = {"rtol": 0, "atol": 1e-5}
    np.testing.assert_allclose(slope.detach().numpy() / np.abs(whole).max(), whole / np.abs(whole).max(), **close)
    want = derivatives.mixed(phi, where, (v, 0 * u), (w, 0 * u))
    size = np.linalg.norm(by_x) * np.linalg.norm(w) + np.linalg.norm(whole) * np.linalg.norm(v)
    np.testing.assert_allclose((by_x.numpy() * w).sum() / size, want / size, **close)
    want = derivatives.mixed(phi, where, (v, 0 * u), (0 * w, t))
    size = np.linalg.norm(by_u) * np.linalg.norm(t)
    np.testing.assert_allclose((by_u.numpy() * t).sum() / size, want / size, **close)


def test_pixel_norm_of_the_tensorflow_example() -> None:
    y = pixel_norm(torch.from_numpy(X)).numpy()
    want = {
        (0, 0, 0): [0.46291006, 0.92582011, 1.38873017],
        (0, 0, 1): [0.78954202, 0.98692751, 1.18431306],
        (0, 1, 0): [0.87047803, 0.99483204, 1.11918604],
        (0, 1, 1): [0.90659684, 0.99725652, 1.08791625],
        (1, 0, 0): [0, 0, 0],
        (1, 0, 1): [-0.46291006, -0.92582011, -1.38873017],
        (1, 1, 0): [0.57735026, -1.15470052, 1.15470052],
        (1, 1, 1): [0.56195146, 1.40487862, 0.84292722],
    }
    for (n, i, j), values in want.items():
        np.testing.assert_allclose(y[n, :, i, j], values, rtol=0, atol=1e-6)


def test_pixel_norm_of_zero_is_zero_with_finite_gradients() -> None:
    x = torch.zeros(2, 4, 2, 2, requires_grad=True)
    y = pixel_norm(x)
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert torch.equal(y, torch.zeros_like(x))
    np.testing.assert_allclose(slope.detach().numpy(), 1e4, rtol=1e-5)  # 1 / sqrt(1e-8)
    assert torch.isfinite(x.grad).all()


def test_scaling_by_two_of_the_tensorflow_examples() -> None:
    x = torch.from_numpy(X)
    assert downscale2(x).flatten(1).tolist() == [[5.5, 6.5, 7.5], [0.5, 0.25, 0.5]]
    y = upscale2(x)
    assert y.shape == (2, 3, 4, 4)
    for i in range(4):
        for j in range(4):
            assert torch.equal(y[:, :, i, j], x[:, :, i // 2, j // 2])


def test_minibatch_stddev_of_the_tensorflow_example() -> None:
    y = minibatch_stddev(torch.from_numpy(X), 2)
    assert y.shape == (2, 1, 2, 2)
    np.testing.assert_allclose(y.numpy(), 3.0416667, rtol=0, atol=1e-5)


def test_minibatch_stddev_groups_are_strided() -> None:
    """Samples i and i + N/2 form a group of two; each pair's biased deviation is half its distance."""
    x = torch.tensor([0.0, 10, 20, 2, 16, 28]).view(6, 1, 1, 1).expand(6, 3, 4, 4)
    assert minibatch_stddev(x, 2)[:, 0, 0, 0].tolist() == pytest.approx([1, 3, 4, 1, 3, 4])


def test_minibatch_stddev_of_interleaved_parts_is_that_of_the_whole() -> None:
    x = torch.from_numpy(randn(16, 3, 4, 4))
    whole = minibatch_stddev(x, 4)
    for parts in (2, 4):
        for part in range(parts):
            np.testing.assert_allclose(minibatch_stddev(x[part::parts], 4), whole[part::parts], rtol=1e-6)


@pytest.mark.parametrize("n", [1, 3])
def test_minibatch_stddev_group_above_batch_is_the_batch(n: int) -> None:
    x = torch.from_numpy(randn(n, 3, 4, 4))
    assert torch.equal(minibatch_stddev(x, 4), minibatch_stddev(x, n))


def test_minibatch_stddev_of_equal_samples_has_finite_derivatives() -> None:
    x = torch.ones(4, 2, 4, 4, requires_grad=True)
    y = minibatch_stddev(x, 4)
    np.testing.assert_allclose(y.detach().numpy(), 1e-4, rtol=1e-5)
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert torch.isfinite(slope).all()
    assert torch.isfinite(x.grad).all()


def test_minibatch_stddev_names_both_numbers_in_its_error() -> None:
    with pytest.raises(ValueError, match="batch size 6 is not a multiple of the stddev group 4"):
        minibatch_stddev(torch.zeros(6, 1, 4, 4), 4)


@pytest.mark.parametrize("function", [pixel_norm, lambda x: minibatch_stddev(x, 4)], ids=["pixel_norm", "stddev"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_kept_but_only_rounds_the_result(function, dtype: torch.dtype) -> None:
    """Squares of 1000 do not fit float16, nor do 512 of them add up in bfloat16."""
    x = (1000 * torch.from_numpy(randn(4, 512, 4, 4))).to(dtype)
    y = function(x)
    assert y.dtype == dtype
    assert torch.equal(y, function(x.float()).to(dtype))


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_faded_images_go_from_blocky_to_sharp(alpha: float) -> None:
    x = torch.from_numpy(randn(2, 3, 8, 16))
    y, blocky = fade_images(x, torch.tensor(alpha)), upscale2(downscale2(x))
    assert torch.equal(y, {0.0: blocky, 1.0: x}.get(alpha, y))
    np.testing.assert_allclose(y, 0.75 * blocky + 0.25 * x if alpha == 0.25 else y, rtol=0, atol=1e-6)
    np.testing.assert_allclose(downscale2(y), downscale2(x), rtol=0, atol=1e-6)


def test_downscaling_undoes_upscaling() -> None:
    x = torch.from_numpy(randn(2, 3, 4, 6))
    assert torch.equal(downscale2(upscale2(x)), x)
