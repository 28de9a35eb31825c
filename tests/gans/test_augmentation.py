"""Augmentation against numpy and scipy, gradients against differences, and who depends on which numbers."""

import numpy as np
import pytest
import torch
from torch import Tensor

from progan.gans.augmentation import KINDS, NUMBERS, Kind, augment
from references import augmentation as reference

GEOMETRY = KINDS[:4]
CASES: dict[str, tuple[Kind, ...]] = {**{kind: (kind,) for kind in KINDS}, "geometry": GEOMETRY, "all": KINDS}
LARGEST = 1 - 2.0**-24
"""Largest float32 number below 1."""


def pictures(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, dtype=torch.float64).mul(2).sub(1).to(dtype)


def uniform(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(count, NUMBERS, dtype=dtype)


def only(count: int, **columns: float) -> Tensor:
    """Draws of which those columns are given, and nothing else is selected."""
    draws = torch.full((count, NUMBERS), LARGEST, dtype=torch.float64)
    for name, value in columns.items():
        draws[:, int(name[1:])] = value
    return draws


def bits(x: Tensor) -> Tensor:
    return x.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()])


@pytest.mark.parametrize("shape", [(16, 16), (16, 24), (13, 9)], ids=str)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("case", CASES)
def test_images_are_those_of_the_reference(case: str, channels: int, shape: tuple[int, int]) -> None:
    """To 1e-12 in float64, and to 1e-4 in float32: its positions are exact to 2^-24 of a side of up to 24 pixels."""
    images, draws = pictures(8, channels, *shape), uniform(8)
    want = reference.augment(images.numpy(), draws.numpy(), 0.7, CASES[case])
    np.testing.assert_allclose(augment(images, draws, 0.7, CASES[case]).numpy(), want, rtol=1e-12, atol=1e-12)
    got = augment(images.float(), draws, 0.7, CASES[case])
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("number", [0.0, LARGEST, 1 - 2.0**-53])
def test_extreme_numbers_are_those_of_the_reference(number: float) -> None:
    """In float32 without scaling, whose normal number is too far out for it. 1 - 2^-53 would be rounded to 1."""
    images, draws = pictures(1, 3, 2, 1024), torch.full((1, NUMBERS), number, dtype=torch.float64)
    want = reference.augment(images.numpy(), draws.numpy(), 1.0, KINDS)
    np.testing.assert_allclose(augment(images, draws, 1.0).numpy(), want, rtol=1e-9, atol=1e-9)
    whole: tuple[Kind, ...] = ("flip", "turn", "translate")
    want = reference.augment(images.numpy(), draws.numpy(), 1.0, whole)
    draws = draws.float() if number <= LARGEST else draws
    np.testing.assert_allclose(augment(images.float(), draws, 1.0, whole).numpy(), want, atol=3e-4)
    assert augment(images.float(), draws, 1.0).isfinite().all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-13)], ids=str)
def test_flips_turns_and_translations_move_whole_pixels(dtype: torch.dtype, tolerance: float) -> None:
    """2e-5 is 2^-24 of 64 pixels, times the largest difference of neighbors and a few roundings."""
    images = pictures(2, 3, 64, 64, dtype=dtype)

    def close(draws: Tensor, kind: Kind, want: np.ndarray) -> None:
        got = augment(images, draws, 0.5, (kind,))
        np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=tolerance)

    close(only(2, c0=0.1, c1=0.4), "flip", np.flip(images.numpy(), 3))
    for times in range(4):
        close(only(2, c2=0.1, c3=times / 4 + 0.1), "turn", np.rot90(images.numpy(), times, (2, 3)))
    for right, down in ((-8, 8), (3, -5), (0, 8)):
        padded = np.pad(images.numpy(), ((0, 0), (0, 0), (8, 8), (8, 8)), mode="symmetric")
        want = padded[:, :, 8 - down : 72 - down, 8 - right : 72 - right]
        close(only(2, c4=0.1, c5=(right + 8.5) / 17, c6=(down + 8.5) / 17), "translate", want)


def test_images_that_are_not_square_are_turned_upside_down_or_not_at_all() -> None:
    images, draws = pictures(40, 1, 4, 6), uniform(40)
    got = augment(images, draws, 1.0, ("turn",))
    turned = draws[:, 3] >= 0.5
    assert 0 < turned.sum() < 40
    torch.testing.assert_close(got[turned], images[turned].flip(2, 3), rtol=0, atol=1e-14)
    assert torch.equal(got[~turned], images[~turned])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("p", [0.0, torch.tensor(0.0)], ids=["number", "tensor"])
def test_nothing_changes_with_probability_0(p: float | Tensor, dtype: torch.dtype, channels: int) -> None:
    images, draws = pictures(5, channels, 8, 8, dtype=dtype), uniform(5, torch.float32)
    images[:, :, 0] = -0.0
    draws[0] = 0
    assert torch.equal(bits(augment(images, draws, p)), bits(images))


def test_what_no_kind_changes_is_returned_bit_for_bit() -> None:
    images, draws = pictures(200, 4, 16, 24, dtype=torch.float32), uniform(200)
    images[:, :, ::3] = -0.0
    decides = {kind: draws[:, reference.SELECTS[kind]] < 0.4 for kind in KINDS}
    still = ~torch.stack([decides[kind] for kind in GEOMETRY]).any(0)
    kept, cut = still & ~decides["color"] & ~decides["cutout"], still & ~decides["color"] & decides["cutout"]
    assert kept.sum() > 2
    assert cut.sum() > 2
    got = augment(images, draws, 0.4)
    assert torch.equal(bits(got[kept]), bits(images[kept]))
    zero = got[cut] == 0
    assert torch.equal(bits(got[cut].where(~zero, 1)), bits(images[cut].where(~zero, 1)))
    share = (zero & (images[cut] != 0)).any(1).float().mean() * 24 / 16  # a third of the rows are 0 before
    assert 0.1 < share < 0.25


@pytest.mark.parametrize("channels", [2, 4])
def test_color_keeps_alpha_bit_for_bit(channels: int) -> None:
    images = pictures(8, channels, 6, 5, dtype=torch.float32)
    got = augment(images, uniform(8), 1.0, ("color",))
    assert torch.equal(got[:, -1], images[:, -1])
    assert (got[:, :-1] != images[:, :-1]).all(1).any(1).any(1).all()


@pytest.mark.parametrize("p", [1.0, 0.6])
def test_shares_of_flips_turns_and_translations_are_those_of_the_probabilities(p: float) -> None:
    """Within 5 standard deviations of a binomial distribution."""
    n = 6000
    images, draws = torch.arange(64.0).view(1, 1, 8, 8).expand(n, 1, 8, 8), uniform(n, torch.float32)

    def check(kind: Kind, outcomes: list[Tensor]) -> None:
        """The first outcome is the image itself; each has the same share of the images that are selected."""
        got, total = augment(images, draws, p, (kind,)), 0
        for number, outcome in enumerate(outcomes):
            share = p / len(outcomes) + (1 - p if number == 0 else 0)
            count = int(((got - outcome).abs() < 0.01).all(3).all(2).sum())
            assert abs(count - n * share) < 5 * (n * share * (1 - share)) ** 0.5
            total += count
        assert total == n

    one = images[:1]
    padded = torch.from_numpy(np.pad(one.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="symmetric"))
    check("flip", [one, one.flip(3)])
    check("turn", [one.rot90(times, (2, 3)) for times in range(4)])
    shifts = [(0, 0), *((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j)]
    check("translate", [padded[:, :, 1 - i : 9 - i, 1 - j : 9 - j] for i, j in shifts])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_each_image_depends_on_its_own_draws_only(dtype: torch.dtype, layout: torch.memory_format) -> None:
    images = pictures(133, 3, 8, 8, dtype=dtype).contiguous(memory_format=layout)
    draws = uniform(133, torch.float64 if dtype == torch.float64 else torch.float32)
    whole = augment(images, draws, 0.7)
    for sizes in ([*[1] * 13, 120], [2, 3, 64, 64]):
        parts = zip(images.split(sizes), draws.split(sizes), strict=True)
        assert torch.equal(torch.cat([augment(x, u, 0.7) for x, u in parts]), whole)
    order = torch.randperm(133)
    assert torch.equal(augment(images[order], draws[order], 0.7), whole[order])


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_reads_its_own_columns(kind: Kind) -> None:
    """Alone it ignores the columns of the others; beside others that are not selected it does the same as alone."""
    images, draws = pictures(30, 3, 16, 16), uniform(30)
    alone = augment(images, draws, 0.5, (kind,))
    columns = sorted([*reference.SELECTS.values(), NUMBERS])
    first = reference.SELECTS[kind]
    last = columns[columns.index(first) + 1]
    others = torch.full_like(draws, 0.9)
    others[:, first:last] = draws[:, first:last]
    assert torch.equal(augment(images, others, 0.5, (kind,)), alone)
    torch.testing.assert_close(augment(images, others, 0.5), alone, rtol=0, atol=0)
    for column in range(first, last):
        changed = draws.clone()
        changed[:, column] = (changed[:, column] + 0.5) % 1
        assert not torch.equal(augment(images, changed, 0.5, (kind,)), alone)


def test_the_order_of_kinds_does_not_matter() -> None:
    images, draws = pictures(8, 3, 8, 8), uniform(8)
    assert torch.equal(augment(images, draws, 0.8, KINDS[::-1]), augment(images, draws, 0.8))


@pytest.mark.parametrize("case", [*KINDS, "all"])
def test_gradients_are_those_of_differences(case: str) -> None:
    """First and second ones; and those of a gradient penalty, which is not linear in the images."""
    images, draws = pictures(2, 3, 8, 8).requires_grad_(True), uniform(2)
    draws[:, list(reference.SELECTS.values())] *= 0.5
    draws[1, [0, 2, 4]] = 0.9  # not selected

    def function(x: Tensor) -> Tensor:
        return augment(x, draws, 0.7, CASES[case])

    def slope(x: Tensor) -> Tensor:
        return torch.autograd.grad(function(x).pow(3).sum(), x, create_graph=True)[0]

    assert torch.autograd.gradcheck(function, images, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, images, fast_mode=True)
    assert torch.autograd.gradcheck(slope, images, fast_mode=True)


def test_the_gradient_of_a_movement_is_its_transpose() -> None:
    """Movements are linear; here they reach several pixels beyond the edges, where tiny images are not reflected."""
    images, directions = pictures(20, 2, 24, 40).requires_grad_(True), pictures(20, 2, 24, 40).requires_grad_(True)
    got = augment(images, uniform(20), 0.8, GEOMETRY)
    (slope,) = torch.autograd.grad(got, images, directions, create_graph=True)
    torch.testing.assert_close((slope * images).sum((1, 2, 3)), (got * directions).sum((1, 2, 3)))
    (second,) = torch.autograd.grad(slope, directions, images)
    torch.testing.assert_close(second, got)


def test_every_derivative_is_that_of_differences() -> None:
    images, draws = pictures(1, 3, 8, 5).requires_grad_(True), 0.6 * uniform(1)
    assert torch.autograd.gradcheck(lambda x: augment(x, draws, 0.9), images)


def test_only_images_get_a_gradient() -> None:
    images, draws = pictures(2, 3, 8, 8), uniform(2).requires_grad_(True)
    assert not augment(images, draws, 0.7).requires_grad


@pytest.mark.parametrize("shape", [(16, 16), (9, 24)], ids=str)
def test_constant_images_stay_constant_when_moved(shape: tuple[int, int]) -> None:
    images = pictures(50, 3, 1, 1, dtype=torch.float32).expand(50, 3, *shape)
    torch.testing.assert_close(augment(images, uniform(50), 0.9, GEOMETRY), images, rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("case", [*KINDS, "all"])
def test_memory_format_is_kept(case: str, channels: int) -> None:
    images, draws = pictures(6, channels, 8, 8), uniform(6)
    last = images.contiguous(memory_format=torch.channels_last)
    plain, got = augment(images, draws, 0.7, CASES[case]), augment(last, draws, 0.7, CASES[case])
    assert plain.is_contiguous()
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(got, plain, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_sixteen_bits_are_computed_in_float32(dtype: torch.dtype) -> None:
    images, draws = pictures(12, 3, 16, 16, dtype=dtype), uniform(12, torch.float32)
    got = augment(images, draws, 0.7)
    assert got.dtype == dtype
    assert torch.equal(got, augment(images.float(), draws, 0.7).to(dtype))


def test_autocast_changes_nothing() -> None:
    images, draws = pictures(12, 3, 16, 16, dtype=torch.float32).requires_grad_(True), uniform(12)
    want = augment(images, draws, 0.7)
    (slope,) = torch.autograd.grad(want.square().sum(), images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = augment(images, draws, 0.7)
        (inside,) = torch.autograd.grad(got.square().sum(), images)
    assert torch.equal(got, want)
    assert torch.equal(inside, slope)


def test_probability_may_be_a_tensor_of_which_no_value_is_read() -> None:
    """Tensors on the meta device have no values."""
    images, draws = pictures(6, 3, 8, 8), uniform(6)
    assert torch.equal(augment(images, draws, torch.tensor(0.75)), augment(images, draws, 0.75))
    got = augment(images.to("meta"), draws.to("meta"), torch.tensor(0.75, device="meta"))
    assert got.is_meta
    assert got.shape == images.shape


def test_no_kinds_and_no_images_are_allowed() -> None:
    images = pictures(3, 3, 8, 8)
    assert torch.equal(augment(images, uniform(3), 1.0, ()), images)
    assert augment(images[:0], uniform(0), 0.5).shape == (0, 3, 8, 8)


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="unknown kind of augmentation 'blur'; choose from flip, turn, translate"):
        augment(pictures(2, 3, 8, 8), uniform(2), 0.5, ("flip", "blur"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"draws must have the shape \[2, 17\], got \[3, 17\]"):
        augment(pictures(2, 3, 8, 8), uniform(3), 0.5)
