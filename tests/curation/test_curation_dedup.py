"""Near duplicates: the hash, the groups, and the store without them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from progan.curation import dedup
from progan.curation.dedup import groups_of, groups_sheet, kept_by, semantic_codes, write_without
from progan.data.columns import Column
from progan.data.levels import box_levels
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.records import Source
from progan.data.store import Store
from progan.errors import DataError
from references import dedup as reference

COUNT, COPIED = 300, 60


def smooth(count: int, seed: int = 0, height: int = 32, width: int = 32) -> np.ndarray:
    """Random smooth images, uint8 [N, H, W, 3], 20 ... 230."""
    rough = np.random.default_rng(seed).integers(20, 231, (count, 5, 5, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(x).resize((width, height), Image.Resampling.BILINEAR)) for x in rough])


def copies_of(images: np.ndarray) -> np.ndarray:
    """A little brighter, and noisy as if compressed."""
    noise = np.random.default_rng(1).normal(0, 2, images.shape)
    return np.clip(np.rint(images * 1.05 + noise), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module", autouse=True)
def short_training():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dedup, "_SEEN", 4_000)
        yield


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    originals = smooth(COUNT)
    return np.concatenate([originals, copies_of(originals[:COPIED])])


@pytest.fixture(scope="module")
def codes(images: np.ndarray) -> np.ndarray:
    return semantic_codes(images)


def test_planted_copies_are_found_and_nothing_else(codes: np.ndarray) -> None:
    assert codes.shape == (COUNT + COPIED, 16)
    kept = kept_by(codes, 12)  # the short training here leaves more bits apart
    assert (kept[:COUNT] == np.arange(COUNT)).all()
    assert (kept[COUNT:] == np.arange(COPIED)).mean() > 0.95


def test_every_unit_tells_images_apart(codes: np.ndarray) -> None:
    on = np.unpackbits(codes, axis=1).mean(0)
    assert 0.1 < on.min() < on.max() < 0.9
    assert 0.4 < on.mean() < 0.6


def test_loss_and_codes_match_the_reference(images: np.ndarray, monkeypatch) -> None:
    x = dedup._standardized(images)
    network = dedup.HashNetwork(x.mean(0))
    weights = [p.detach().double().numpy() for p in network.parameters()]
    loss, codes = reference.autoencoder(x.double().numpy(), x.double().numpy().mean(0), *weights)
    assert (network.codes(x) == codes).mean() > 0.999  # a sum next to 0 may round to either side
    monkeypatch.setattr(dedup, "_NOISE", 0)
    monkeypatch.setattr(dedup, "_DROPOUT", 0)
    assert network.loss(x, torch.Generator()).item() == pytest.approx(loss, rel=1e-5)


def test_training_learns_to_restore_noisy_images(images: np.ndarray) -> None:
    x = dedup._standardized(images)
    network = dedup.HashNetwork(x.mean(0))
    before = network.loss(x, torch.Generator().manual_seed(1)).item()
    dedup._fit(network, images, seed=0, hidden=True)
    assert network.loss(x, torch.Generator().manual_seed(1)).item() < 0.7 * before


def test_noise_and_dropout_reach_the_code(images: np.ndarray, monkeypatch) -> None:
    x = dedup._standardized(images)
    network = dedup.HashNetwork(x.mean(0))

    def loss() -> float:
        return network.loss(x, torch.Generator().manual_seed(0)).item()

    plain = loss()
    monkeypatch.setattr(dedup, "_NOISE", 0)
    without_noise = loss()
    monkeypatch.setattr(dedup, "_DROPOUT", 0)
    assert plain > without_noise > loss()


def test_same_seed_gives_the_same_codes(images: np.ndarray, codes: np.ndarray) -> None:
    assert (semantic_codes(images) == codes).all()
    assert (semantic_codes(images, seed=1) != codes).any()


@pytest.mark.parametrize("shape", [(32, 32, 3), (32, 32, 1), (32, 32, 4), (32, 64, 3), (96, 32, 3)])
def test_numbers_match_the_reference(shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8)
    images[0] = 7  # blank: no division by zero
    found = dedup._standardized(images).numpy()
    assert found.shape == (5, 3072)
    np.testing.assert_allclose(found, reference.standardized(images), atol=1e-5)


@pytest.mark.parametrize("distance", [0, 1, 3, 8, 11, 31])
def test_groups_match_comparing_all(distance: int) -> None:
    rng = np.random.default_rng(distance)
    centers = rng.random((20, 128)) < 0.5
    bits = centers[rng.integers(0, 20, 250)] ^ (rng.random((250, 128)) < rng.choice([0, 0.01, 0.05, 0.1], (250, 1)))
    wanted = reference.kept_by(bits, distance)
    assert (kept_by(np.packbits(bits, axis=1), distance) == wanted).all()
    assert 20 < len(set(wanted)) < 250 or distance == 31


def test_far_ends_of_a_chain_are_not_duplicates() -> None:
    bits = np.zeros((4, 128), bool)
    for i in range(4):
        bits[i, : 6 * i] = True
    assert kept_by(np.packbits(bits, axis=1), 6).tolist() == [0, 0, 2, 2]


def test_many_equal_images_take_no_time() -> None:
    codes = np.zeros((200_000, 16), np.uint8)
    codes[-1] = 255
    assert np.unique(kept_by(codes)).tolist() == [0, 199_999]


def test_nothing_is_alike() -> None:
    codes = np.random.default_rng(0).integers(0, 256, (50, 16), dtype=np.uint8)
    assert (kept_by(codes) == np.arange(50)).all()
    assert groups_of(kept_by(codes)) == []


@pytest.fixture
def pairs(tmp_path: Path) -> Store:
    """Twelve images with labels; the last two copies of the first two."""
    originals = smooth(10, height=32, width=64)
    for i, image in enumerate(np.concatenate([originals, originals[:2]])):
        path = tmp_path / "images" / f"c{i % 3}" / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return prepare(tmp_path / "images", tmp_path / "store", PrepareOptions(resolution="32x64"), workers=0)


def test_new_store_has_the_rest_in_every_level(pairs: Store, tmp_path: Path) -> None:
    kept = kept_by(semantic_codes(pairs.level(32)))
    stay = np.unique(kept)
    assert len(stay) == 10
    new = write_without(pairs, kept, tmp_path / "new")
    assert (new.count, new.classes, new.resolutions) == (10, pairs.classes, pairs.resolutions)
    assert new.hash != pairs.hash
    assert new.manifest["source"].endswith("without 2 near duplicates")
    for side in pairs.resolutions:
        assert (new.level(side) == pairs.level(side)[stay]).all()
    assert (new.labels() == pairs.labels()[stay]).all()  # type: ignore[index]
    assert list(new.names) == [pairs.names[i] for i in stay]
    assert Store.open(pairs.path).count == 12


def test_columns_stay_beside_their_images_and_levels_count_alpha(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 4), np.uint8)
    columns = (Column("age", np.arange(6, dtype=np.float32) * 2), Column("label", np.arange(12).reshape(6, 2)))
    source = Source(
        description="noise",
        names=list("abcdef"),
        labels=None,
        classes=(),
        read=lambda positions: (pixels[i] for i in positions),
        columns=columns,
    )
    (tmp_path / "nothing").mkdir()
    store = prepare(tmp_path / "nothing", tmp_path / "store", PrepareOptions(channels=4), source=source)
    for level in store.resolutions[:-1]:  # as a version without alpha would have left them
        np.load(tmp_path / "store" / f"{level}x{level}.npy", mmap_mode="r+")[:] = 0
    new = write_without(store, np.array([0, 1, 0, 3, 1, 5]), tmp_path / "new")
    assert list(new.names) == ["a", "b", "d", "f"]
    assert new.columns == ("age", "label")
    assert new.column("age").values.tolist() == [0, 2, 6, 10]
    assert new.column("label").values.tolist() == [[0, 1], [2, 3], [6, 7], [10, 11]]
    for level, wanted in zip(new.resolutions[::-1], box_levels(pixels[[0, 1, 3, 5]]), strict=True):
        np.testing.assert_array_equal(new.level(level), wanted)


def test_prepare_does_not_take_the_new_store_for_its_own(pairs: Store, tmp_path: Path) -> None:
    write_without(pairs, np.zeros(12, np.int64), tmp_path / "new")
    again = prepare(tmp_path / "images", tmp_path / "new", PrepareOptions(resolution="32x64"), workers=0)
    assert again.count == 12


def test_new_store_overwrites_nothing(pairs: Store) -> None:
    with pytest.raises(DataError, match="already exists"):
        write_without(pairs, np.arange(12), pairs.path)
    assert Store.open(pairs.path).hash == pairs.hash


def test_sheet_has_a_group_in_each_row(pairs: Store) -> None:
    picture = np.asarray(groups_sheet(pairs, [[3, 4, 5], [0, 1]]))
    level = pairs.level(32).repeat(2, 1).repeat(2, 2)
    height, width = level.shape[1:3]
    assert picture.shape == (2 * height + 2, 3 * width + 4, 3)
    assert (picture[:height, -width:] == level[5]).all()
    assert (picture[-height:, :width] == level[0]).all()
    assert (picture[-height:, -width:] == 255).all()
