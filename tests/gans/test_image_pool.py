"""The pool of generated images against the authors' trace and a plain list."""

import random

import pytest
import torch
from torch import Tensor

from golden_family import golden
from progan.gans.image_pool import ImagePool

GOLDEN = golden("cyclegan_pool")


def constant(*values: float) -> Tensor:
    """Images of one pixel."""
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1)


def numbers(draws: list, size: int) -> list[float]:
    """The two numbers of ``exchange`` that stand for what the authors' program drew; unused ones would exchange."""
    drawn = dict(map(tuple, draws))
    return [drawn.get("uniform", 0.9), (drawn.get("randint", 0) + 0.5) / size]


@pytest.mark.parametrize("batch", [1, 2, 4, 16])
def test_returns_and_stores_what_the_authors_pool_does(batch: int) -> None:
    """Exactly, however many images are given at once."""
    size, wanted = GOLDEN["pool_size"], GOLDEN["returned"]
    pool = ImagePool(size, 1, 1, 1)
    chances = torch.tensor([numbers(draws, size) for draws in GOLDEN["random_draws_per_query"]])
    images = constant(*range(len(wanted)))
    parts = zip(images.split(batch), chances.split(batch), strict=True)
    got = torch.cat([pool.exchange(some, chance) for some, chance in parts])
    assert got.flatten().tolist() == wanted
    assert pool.images.flatten().tolist() == GOLDEN["pool_at_end"]
    assert int(pool.filled) == size


def reference(size: int, queries: list[tuple[int, float, float]]) -> tuple[list[int], list[int]]:
    """The rule of the paper on a list, one image after the other; imports nothing from progan."""
    stored: list[int] = []
    returned = []
    for image, swap, place in queries:
        if len(stored) < size:
            stored.append(image)
            returned.append(image)
        elif swap > 0.5:
            returned.append(stored[int(place * size)])
            stored[int(place * size)] = image
        else:
            returned.append(image)
    return returned, stored


def test_agrees_with_a_list_over_many_random_queries() -> None:
    rng = random.Random(0)
    queries = [(k, rng.random(), rng.random()) for k in range(400)]
    pool = ImagePool(50, 1, 1, 1)
    got = [int(pool.exchange(constant(k), torch.tensor([[a, b]], dtype=torch.float64))) for k, a, b in queries]
    returned, stored = reference(50, queries)
    assert got == returned
    assert pool.images.flatten().tolist() == stored
    assert len(set(got)) < len(got) < 400 + 1


@pytest.mark.parametrize("size", [1, 3, 50, 64, 1001])
def test_largest_number_takes_the_last_place(size: int) -> None:
    """In float32, no size times the largest number below 1 is rounded to the size."""
    pool = ImagePool(size, 1, 1, 1)
    pool.exchange(constant(*range(size)), torch.zeros(size, 2))
    below_1 = torch.nextafter(torch.ones(()), torch.zeros(()))
    assert float(pool.exchange(constant(9999), below_1.expand(1, 2))) == size - 1
    assert float(pool.images[-1]) == 9999


def test_half_full_pool_continues_from_its_state() -> None:
    pool, other = ImagePool(4, 1, 2, 3), ImagePool(4, 1, 2, 3)
    draw = torch.Generator().manual_seed(0)
    new = torch.randn(9, 1, 2, 3, generator=draw)
    chance = torch.rand(9, 2, generator=draw)
    pool.exchange(new[:2], chance[:2])
    other.load_state_dict(pool.state_dict())
    assert torch.equal(pool.exchange(new[2:], chance[2:]), other.exchange(new[2:], chance[2:]))
    assert torch.equal(pool.images, other.images)


def test_returned_images_have_no_gradient_and_do_not_change_later() -> None:
    pool = ImagePool(1, 1, 1, 1)
    pool.exchange(constant(1), torch.ones(1, 2) / 4)
    old = pool.exchange(constant(2).requires_grad_(), torch.tensor([[0.9, 0.0]]))
    pool.exchange(constant(3), torch.tensor([[0.9, 0.0]]))
    assert not old.requires_grad
    assert float(old) == 1
    assert float(pool.images) == 3


def test_without_a_size_every_image_is_returned() -> None:
    pool = ImagePool(0, 1, 1, 1)
    assert pool.exchange(constant(1, 2), torch.ones(2, 2) * 0.9).flatten().tolist() == [1, 2]
    assert dict(pool.state_dict())["images"].shape == (0, 1, 1, 1)
