from pathlib import Path

import numpy as np
import pytest
import torch

from progan import draws
from progan.data.loader import Loader
from progan.data.options import PrepareOptions
from progan.data.store import Store, prepare
from progan.errors import DataError
from references.image_files import noise, save
from references.store_reference import loader_batch

COUNT = 13


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """13 images of 8x16 in two classes."""
    folder = tmp_path_factory.mktemp("loader")
    for i in range(COUNT):
        save(folder / "source" / "ab"[i % 2] / f"{i:02d}.png", noise(8, 16, seed=i))
    return prepare(folder / "source", folder / "store", PrepareOptions(resolution="8x16"))


def wanted(store: Store, positions: list[int], resolution: int, *, mirror: bool) -> np.ndarray:
    orders = [draws.permutation(5, "order", epoch, COUNT) for epoch in range(1 + max(positions) // COUNT)]
    side = draws.uniform(5, "mirror", 0, max(positions) + 1, 1)[:, 0] < 0.5
    return loader_batch(np.array(store.level(resolution)), orders, side & mirror, positions)


@pytest.mark.parametrize("budget", [None, 0])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(("position", "count"), [(0, 4), (10, 8), (COUNT - 1, 1), (3, 40), (1000, 5)])
def test_matches_reference_across_epochs(store: Store, budget: int | None, mirror: bool, position, count) -> None:
    loader = Loader(store, seed=5, mirror=mirror, budget_bytes=budget)
    for resolution in (8, 4):
        images, labels = loader.batch(position, count, resolution)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert images.dtype == torch.uint8
        positions = list(range(position, position + count))
        np.testing.assert_array_equal(images.numpy(), wanted(store, positions, resolution, mirror=mirror))
        rows = [draws.permutation(5, "order", p // COUNT, COUNT)[p % COUNT] for p in positions]
        assert labels is not None
        assert labels.dtype == torch.int64
        assert labels.tolist() == [int(row >= 7) for row in rows]  # 7 of class a, then 6 of class b


def test_every_image_exactly_once_an_epoch(store: Store) -> None:
    loader = Loader(store, seed=1, mirror=False)
    level = {image.tobytes() for image in store.level(8).transpose(0, 3, 1, 2)}
    assert len(level) == COUNT
    orders = []
    for epoch in range(3):
        images = torch.cat([loader.batch(epoch * COUNT + p, 1, 8)[0] for p in range(COUNT)])
        orders.append([image.tobytes() for image in images.numpy()])
        assert set(orders[-1]) == level
    assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_interleaved_slices_make_up_the_whole_batch(store: Store, stride: int) -> None:
    loader = Loader(store, seed=2, mirror=True)
    whole, labels = loader.batch(9, 10, 8)
    again, numbers = torch.empty_like(whole), torch.empty_like(labels)
    for offset in range(stride):
        again[offset::stride], numbers[offset::stride] = loader.batch(9, 10, 8, offset=offset, stride=stride)
    assert torch.equal(whole, again)
    assert torch.equal(labels, numbers)


@pytest.mark.parametrize("sizes", [[1] * 30, [7, 7, 7, 7, 2], [30], [29, 1]])
def test_images_and_mirroring_do_not_depend_on_the_split_into_batches(store: Store, sizes: list[int]) -> None:
    loader, position, parts = Loader(store, seed=3, mirror=True), 5, []
    for size in sizes:
        parts.append(loader.batch(position, size, 8)[0])
        position += size
    assert torch.equal(torch.cat(parts), Loader(store, seed=3, mirror=True).batch(5, 30, 8)[0])


def test_held_equals_mapped_and_only_small_levels_are_held(store: Store) -> None:
    loader = Loader(store, seed=4, mirror=True, budget_bytes=store.level(4).nbytes)
    for resolution in (8, 4, 8):
        images, _ = loader.batch(7, 9, resolution)
        assert (loader._held is not None) == (resolution == 4)
        assert torch.equal(images, Loader(store, seed=4, mirror=True).batch(7, 9, resolution)[0])


def test_seed_changes_order_and_mirroring(store: Store) -> None:
    a, b = (Loader(store, seed=seed, mirror=False).batch(0, COUNT, 8)[0] for seed in (1, 2))
    assert not torch.equal(a, b)


def test_batches_may_be_written_to(store: Store) -> None:
    for budget in (None, 0):
        loader = Loader(store, seed=1, mirror=False, budget_bytes=budget)
        first = loader.batch(0, 4, 8)[0]
        kept = first.clone()
        first.zero_()
        assert torch.equal(loader.batch(0, 4, 8)[0], kept)


def test_empty_slice_and_missing_resolution(store: Store) -> None:
    loader = Loader(store, seed=1, mirror=True)
    assert loader.batch(0, 2, 8, offset=3, stride=4)[0].shape == (0, 3, 8, 16)
    with pytest.raises(DataError, match="no images with a shorter side of 16"):
        loader.batch(0, 2, 16)


def test_store_without_labels_gives_none(tmp_path: Path) -> None:
    save(tmp_path / "source" / "1.png", noise(4, 4))
    loader = Loader(prepare(tmp_path / "source", tmp_path / "store"), seed=1, mirror=True)
    images, labels = loader.batch(0, 3, 4)
    assert images.shape == (3, 3, 4, 4)
    assert labels is None
