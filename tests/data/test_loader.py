import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from progan import draws
from progan.data.columns import Column
from progan.data.loader import Loader, _copied, windows
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.sources import open_source
from progan.data.store import Store
from progan.errors import DataError
from references.image_files import noise, save
from references.store_reference import loader_batch, one_hot

CPU = torch.device("cpu")
COUNT = 13
RNG = np.random.default_rng(1)
COLUMNS = (
    Column("age", RNG.normal(size=COUNT).astype(np.float32)),
    Column("box", RNG.integers(-9, 9, (COUNT, 3))),
    Column("sky", RNG.integers(0, 3, COUNT), ("blue", "grey", "red")),
    Column("pair", RNG.integers(0, 2, (COUNT, 2)), ("no", "yes")),
    Column("gap", np.array([np.nan] * 2 + [0] * (COUNT - 2), np.float32)),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """13 images of 8x16 in two classes, with columns."""
    folder = tmp_path_factory.mktemp("loader")
    for i in range(COUNT):
        save(folder / "source" / "ab"[i % 2] / f"{i:02d}.png", noise(8, 16, seed=i))
    source = replace(open_source(folder / "source"), columns=COLUMNS)
    return prepare(folder / "source", folder / "store", PrepareOptions(resolution="8x16"), source=source)


def wanted(store, positions, resolution, *, mirror, size=None, streams=("order", "mirror", "crop")) -> np.ndarray:
    end, level = max(positions) + 1, np.array(store.level(resolution))
    orders = [draws.permutation(5, streams[0], epoch, COUNT) for epoch in range(1 + end // COUNT)]
    side = (draws.uniform(5, streams[1], 0, end, 1)[:, 0] < 0.5) & mirror
    corners = draws.uniform(5, streams[2], 0, end, 2)
    return loader_batch(level, orders, side, positions, *((corners, size) if size else ()))


@pytest.mark.parametrize("budget", [None, 0])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(("position", "count"), [(0, 4), (10, 8), (COUNT - 1, 1), (3, 40), (1000, 5)])
def test_matches_reference_across_epochs(
    store: Store, budget: int | None, mirror: bool, position, count, device: torch.device
) -> None:
    loader = Loader(store, seed=5, mirror=mirror, budget_bytes=budget, device=device)
    for resolution in (8, 4):
        images, labels = loader.images(position, count, resolution), loader.labels(position, count)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert images.dtype == torch.uint8
        positions = list(range(position, position + count))
        np.testing.assert_array_equal(images.cpu().numpy(), wanted(store, positions, resolution, mirror=mirror))
        assert images.device.type == device.type
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
        images = torch.cat([loader.images(epoch * COUNT + p, 1, 8) for p in range(COUNT)])
        orders.append([image.tobytes() for image in images.numpy()])
        assert set(orders[-1]) == level
    assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_interleaved_slices_make_up_the_whole_batch(store: Store, stride: int) -> None:
    loader = Loader(store, seed=2, mirror=True)
    whole, labels = loader.images(9, 10, 8), loader.labels(9, 10)
    again, numbers = torch.empty_like(whole), torch.empty_like(labels)
    for offset in range(stride):
        again[offset::stride] = loader.images(9, 10, 8, offset=offset, stride=stride)
        numbers[offset::stride] = loader.labels(9, 10, offset=offset, stride=stride)
    assert torch.equal(whole, again)
    assert torch.equal(labels, numbers)


@pytest.mark.parametrize("sizes", [[1] * 30, [7, 7, 7, 7, 2], [30], [29, 1]])
def test_images_and_mirroring_do_not_depend_on_the_split_into_batches(store: Store, sizes: list[int]) -> None:
    loader, position, parts = Loader(store, seed=3, mirror=True), 5, []
    for size in sizes:
        parts.append(loader.images(position, size, 8))
        position += size
    assert torch.equal(torch.cat(parts), Loader(store, seed=3, mirror=True).images(5, 30, 8))


def test_held_equals_mapped_and_only_small_levels_are_held(store: Store) -> None:
    loader = Loader(store, seed=4, mirror=True, budget_bytes=store.level(4).nbytes)
    for resolution in (8, 4, 8):
        images = loader.images(7, 9, resolution)
        assert (loader._held is not None) == (resolution == 4)
        assert torch.equal(images, Loader(store, seed=4, mirror=True).images(7, 9, resolution))


@pytest.mark.parametrize("chunk", [1, 1000, 1 << 20])
def test_a_level_is_held_without_a_second_copy(store: Store, chunk: int, monkeypatch) -> None:
    level = np.tile(store.level(8), (100, 1, 1, 1))
    monkeypatch.setattr("progan.data.loader._CHUNK", chunk)
    monkeypatch.setattr("progan.data.loader.torch.empty", counting := Counting(torch.empty))
    tracemalloc.start()  # numpy's memory; torch's is counted
    try:
        held = _copied(level, CPU)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(held.numpy(), level)
    assert counting.bytes == level.nbytes + max(chunk // level[0].nbytes, 1) * level[0].nbytes
    assert peak < level.nbytes / 10


class Counting:
    """torch.empty that adds up the bytes it gives."""

    def __init__(self, make: Callable[..., torch.Tensor]) -> None:
        self.make, self.bytes = make, 0

    def __call__(self, *args: object, **more: object) -> torch.Tensor:
        tensor = self.make(*args, **more)
        self.bytes += tensor.nbytes
        return tensor


def test_what_is_held_is_asked_for(store: Store, monkeypatch) -> None:
    size = store.level(8).nbytes
    for free, held in ((2 * size, True), (2 * size - 2, False)):
        gc.collect()  # loaders of other tests
        monkeypatch.setattr("progan.devices.free_bytes", lambda _, free=free: free)
        loader = Loader(store, seed=1, mirror=False)
        loader.images(0, 1, 8)
        assert (loader._held is not None) == held
        assert loader._share.held == held * size


def test_processes_on_one_machine_share_the_memory_map(store: Store, monkeypatch) -> None:
    for ranks, held in (("1", True), ("2", False)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
        loader = Loader(store, seed=1, mirror=False)
        images = loader.images(0, 5, 8)
        assert (loader._held is not None) == held
        assert torch.equal(images, Loader(store, seed=1, mirror=False, budget_bytes=0).images(0, 5, 8))


def test_seed_changes_order_and_mirroring(store: Store) -> None:
    a, b = (Loader(store, seed=seed, mirror=False).images(0, COUNT, 8) for seed in (1, 2))
    assert not torch.equal(a, b)


def test_batches_may_be_written_to(store: Store) -> None:
    for budget in (None, 0):
        loader = Loader(store, seed=1, mirror=False, budget_bytes=budget)
        first = loader.images(0, 4, 8)
        kept = first.clone()
        first.zero_()
        assert torch.equal(loader.images(0, 4, 8), kept)


def test_empty_slice_and_missing_resolution(store: Store) -> None:
    loader = Loader(store, seed=1, mirror=True)
    assert loader.images(0, 2, 8, offset=3, stride=4).shape == (0, 3, 8, 16)
    with pytest.raises(DataError, match="no images with a shorter side of 16"):
        loader.images(0, 2, 16)


def test_store_without_labels_gives_none(tmp_path: Path) -> None:
    save(tmp_path / "source" / "1.png", noise(4, 4))
    loader = Loader(prepare(tmp_path / "source", tmp_path / "store"), seed=1, mirror=True)
    assert loader.images(0, 3, 4).shape == (3, 3, 4, 4)
    assert loader.labels(0, 3) is None
    assert len(loader) == 1


# --- parts, sources and columns


@pytest.mark.parametrize("budget", [None, 0])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("size", [(8, 16), (5, 7), (1, 1), (8, 1), (1, 16)])
def test_parts_match_reference(
    store: Store, budget: int | None, mirror: bool, size: tuple[int, int], device: torch.device
) -> None:
    loader = Loader(store, seed=5, mirror=mirror, load_size=8, size=size, budget_bytes=budget, device=device)
    for position, count in [(0, 4), (3, 40), (500, 5)]:
        images = loader.images(position, count, 4)
        assert images.is_contiguous(memory_format=torch.channels_last)
        positions = list(range(position, position + count))
        np.testing.assert_array_equal(images.cpu().numpy(), wanted(store, positions, 8, mirror=mirror, size=size))


def test_parts_of_the_resolution_asked_for_if_no_other_is_named(store: Store) -> None:
    images = Loader(store, seed=5, mirror=True, size=(3, 3)).images(0, 20, 4)
    np.testing.assert_array_equal(images.numpy(), wanted(store, list(range(20)), 4, mirror=True, size=(3, 3)))
    whole = Loader(store, seed=5, mirror=True, load_size=8).images(0, 20, 4)
    np.testing.assert_array_equal(whole.numpy(), wanted(store, list(range(20)), 8, mirror=True))


@pytest.mark.parametrize("sizes", [[1] * 30, [7, 7, 7, 7, 2], [29, 1]])
@pytest.mark.parametrize("stride", [1, 3])
def test_parts_do_not_depend_on_the_split_into_batches_and_ranks(store: Store, sizes: list[int], stride: int) -> None:
    how = {"seed": 3, "mirror": True, "load_size": 8, "size": (4, 6), "source": 2}
    loader, position, parts = Loader(store, **how), 5, []
    for size in sizes:
        part = torch.empty(size, 3, 4, 6, dtype=torch.uint8)
        for offset in range(stride):
            part[offset::stride] = loader.images(position, size, 8, offset=offset, stride=stride)
        parts.append(part)
        position += size
    assert torch.equal(torch.cat(parts), Loader(store, **how, budget_bytes=0).images(5, 30, 8))


def test_parts_are_at_every_place_equally_often(tmp_path: Path) -> None:
    grid = np.stack([*np.meshgrid(np.arange(8), np.arange(8), indexing="ij"), np.zeros((8, 8))], 2)  # pixel (y, x): y x
    save(tmp_path / "source" / "1.png", grid.astype(np.uint8))
    store = prepare(tmp_path / "source", tmp_path / "store")
    corners = Loader(store, seed=1, mirror=False, load_size=8, size=(6, 4)).images(0, 3000, 8)[:, :2, 0, 0].numpy()
    counts = np.zeros((3, 5))
    np.add.at(counts, tuple(corners.T), 1)
    assert counts.min() > 150  # 200, with a deviation of 13.7
    assert counts.max() < 250


def test_parts_that_are_larger_than_the_images_are_refused(store: Store) -> None:
    for size in [(9, 4), (4, 17)]:
        with pytest.raises(DataError, match=rf"a crop of {size[0]}x{size[1]} .*does not fit its 8x16 images") as error:
            Loader(store, seed=1, mirror=True, load_size=8, size=size)
        assert "\n" not in str(error.value)
    loader = Loader(store, seed=1, mirror=True, size=(5, 5))
    with pytest.raises(DataError, match="does not fit its 4x8 images"):
        loader.images(0, 1, 4)
    with pytest.raises(DataError, match="no images with a shorter side of 286"):
        Loader(store, seed=1, mirror=True, load_size=286, size=(5, 5))


def test_torch_cuts_the_same_parts_as_on_a_gpu() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 9, 7, 3), np.uint8)
    rows, ys, xs = (torch.tensor(numbers) for numbers in ([4, 0, 2], [0, 5, 3], [4, 0, 1]))
    parts = torch.from_numpy(pixels).as_strided(*windows(pixels.shape, (4, 3)))[rows, ys, xs].unflatten(2, (3, -1))
    for part, row, y, x in zip(parts, rows, ys, xs, strict=True):
        np.testing.assert_array_equal(part, pixels[row, y : y + 4, x : x + 3])


def test_sources_have_orders_mirroring_and_parts_of_their_own(store: Store) -> None:
    positions, how = list(range(20)), {"mirror": True, "size": (4, 6)}
    for source, streams in [(0, ("order", "mirror", "crop")), (1, ("order/1", "mirror/1", "crop/1"))]:
        images = Loader(store, seed=5, source=source, load_size=8, **how).images(0, 20, 8)
        np.testing.assert_array_equal(images.numpy(), wanted(store, positions, 8, streams=streams, **how))
    labels = [
        Loader(store, seed=5, mirror=True, source=source, columns=["age"]).labels(0, COUNT) for source in range(3)
    ]
    assert len({tuple(values.flatten().tolist()) for values in labels}) == 3


@pytest.mark.parametrize(
    "names", [["age"], ["box"], ["sky"], ["pair"], ["label"], ["age", "sky"], ["label", "box", "pair", "age"]]
)
def test_labels_are_made_of_columns(store: Store, names: list[str]) -> None:
    columns = {column.name: column for column in (*COLUMNS, Column("label", np.arange(COUNT) // 7, ("a", "b")))}
    rows = draws.permutation(5, "order", 0, COUNT)[3:9]
    labels = Loader(store, seed=5, mirror=False, columns=names).labels(3, 6)
    assert labels is not None
    if names in (["sky"], ["label"]):
        assert labels.dtype == torch.int64
        assert labels.tolist() == columns[names[0]].values[rows].tolist()
    else:
        assert labels.dtype == torch.float32
        parts = [one_hot(columns[name].values[rows], len(columns[name].classes)) for name in names]
        np.testing.assert_array_equal(labels, np.concatenate(parts, 1).astype(np.float32))


def test_labels_that_are_unknown_or_missing_are_named(store: Store) -> None:
    with pytest.raises(DataError, match=r"no column 'eyes'\n  found: label, age, box, sky, pair, gap\n"):
        Loader(store, seed=1, mirror=False, columns=["age", "eyes"])
    with pytest.raises(DataError, match=r"column 'gap': 2 of 13 images have no value\n  fix:"):
        Loader(store, seed=1, mirror=False, columns=["age", "gap"])


def test_labels_are_read_without_images(store: Store) -> None:
    loader = Loader(store, seed=1, mirror=True)
    assert loader.labels(0, 5).shape == (5,)
    assert loader._held is None
    assert loader._mapped.size == 0
