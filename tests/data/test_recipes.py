"""Recipes, against a small web server of this machine and small stand-in files."""

import gzip
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from progan import draws
from progan.data import recipes
from progan.data.options import PrepareOptions
from progan.data.recipes import RECIPES, open_recipe, prepare_recipe
from progan.data.recipes.mnist_rgb import mnist_rgb_source
from progan.errors import ConfigError, DataError
from references.image_files import idx, make_tar, noise, save

GONE = "http://127.0.0.1:9"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """A function that lets a recipe find the files of a folder, on its second mirror, with their true checksums."""
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path / "cache"))
    servers = []

    def start(name: str, folder: Path) -> ThreadingHTTPServer:
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        sums = {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in RECIPES[name].files}
        mirrors = (GONE, f"http://127.0.0.1:{servers[-1].server_address[1]}")
        monkeypatch.setitem(recipes.RECIPES, name, replace(RECIPES[name], mirrors=mirrors, files=sums))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A folder with all four files of MNIST under their true names: 30 + 4 images."""
    folder = tmp_path / "digits"
    folder.mkdir()
    for part, count in (("train", 30), ("t10k", 4)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx((np.arange(count) % 10).astype("u1"))))
    return folder


def test_downloads_from_the_second_mirror_once(serve, digits: Path, tmp_path: Path) -> None:
    server = serve("mnist", digits)
    store = prepare_recipe("mnist", tmp_path / "store", workers=0)
    assert (store.count, store.height, store.channels, len(store.classes)) == (30, 32, 1, 10)
    assert sorted(p.name for p in (tmp_path / "cache" / "data" / "mnist").iterdir()) == sorted(RECIPES["mnist"].files)
    server.shutdown()
    assert prepare_recipe("mnist", tmp_path / "test", PrepareOptions(split="test"), workers=0).count == 4


def test_downloads_one_archive(serve, cifar: Path, tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    files = {f"cifar-10-batches-py/{p.name}": p.read_bytes() for p in cifar.iterdir()}
    make_tar(tmp_path / "web" / "cifar-10-python.tar.gz", files)
    serve("cifar10", tmp_path / "web")
    store = prepare_recipe("cifar10", tmp_path / "store", workers=0)
    assert (store.count, store.height, store.classes[3]) == (20, 32, "cat")


def test_without_a_connection_says_which_file_goes_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path))
    monkeypatch.setitem(recipes.RECIPES, "mnist", replace(RECIPES["mnist"], mirrors=(GONE, GONE)))
    file, sha256 = next(iter(RECIPES["mnist"].files.items()))
    place = tmp_path / "data" / "mnist" / file
    with pytest.raises(DataError, match=rf"(?s){file}.*{sha256}.*{place}, or run 'progan prepare mnist .*--from PATH"):
        prepare_recipe("mnist", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_file_with_another_checksum_is_not_used(serve, digits: Path, tmp_path: Path) -> None:
    serve("mnist", digits)
    (digits / "train-images-idx3-ubyte.gz").write_bytes(b"<html>not here any more</html>")
    with pytest.raises(DataError, match="wrong SHA-256"):
        prepare_recipe("mnist", tmp_path / "store", workers=0)


@pytest.mark.parametrize("name", ["celeba", "lsun_bedroom", "lsun_tv_monitor"])
def test_large_sets_are_fetched_by_hand(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"(?s)not downloaded.*https?://\S+.*progan prepare {name} \S+ --from PATH"):
        prepare_recipe(name, tmp_path / "store")


def test_celeba_crop_is_centered_on_the_point_of_the_paper(tmp_path: Path) -> None:
    ramp = np.zeros((218, 178, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(178), np.arange(218)[:, None]
    save(tmp_path / "img_align_celeba" / "000001.png", ramp)
    given = tmp_path / "img_align_celeba"
    store = prepare_recipe("celeba", tmp_path / "store", given=given, workers=0)
    top = store.level(128)[0]
    assert tuple(top[64, 64, :2]) == (89, 121)
    assert np.array_equal(top, ramp[57:185, 25:153])
    small = prepare_recipe("celeba", tmp_path / "small", PrepareOptions(resolution="64"), given=given, workers=0)
    assert small.height == 64  # what is typed wins, the rest of the recipe stays
    assert small.manifest["options"]["crop"] == "25,57,128,128"


def test_lsun_takes_the_center(tmp_path: Path) -> None:
    ramp = np.zeros((256, 300, 3), np.uint8)
    ramp[..., 0] = np.arange(300) // 2
    save(tmp_path / "bedroom" / "a.png", ramp)
    store = prepare_recipe("lsun_bedroom", tmp_path / "store", given=tmp_path / "bedroom", workers=0)
    assert np.array_equal(store.level(256)[0], ramp[:, 22:278])


def test_lsun_takes_as_many_as_the_paper(tmp_path: Path, monkeypatch) -> None:
    assert [name for name, it in RECIPES.items() if "lsun" in name and not it.most] == ["lsun_bedroom", "lsun_dog"]
    for i in range(4):
        save(tmp_path / "tower" / f"{i}.png", noise(256, 256))
    monkeypatch.setitem(RECIPES, "lsun_tower", replace(RECIPES["lsun_tower"], most=3))
    store = prepare_recipe("lsun_tower", tmp_path / "store", given=tmp_path / "tower", workers=0)
    assert store.count == 3
    assert store.manifest["source"] == "first 3 of folder tower"
    labels = tmp_path / "labels.csv"  # of all images, also of those that are not taken
    labels.write_text("".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(4)))
    options = PrepareOptions(labels=str(labels))
    store = prepare_recipe("lsun_tower", tmp_path / "labelled", options, given=tmp_path / "tower", workers=0)
    assert store.labels().tolist() == [0, 1, 0]


def test_mnist_rgb_joins_three_digits(digits: Path, tmp_path: Path) -> None:
    store = prepare_recipe("mnist_rgb", tmp_path / "store", given=digits, count=200, seed=3, workers=0)
    grey = np.frombuffer(gzip.decompress((digits / "train-images-idx3-ubyte.gz").read_bytes())[16:], np.uint8)
    grey = np.pad(grey.reshape(-1, 28, 28), ((0, 0), (2, 2), (2, 2)))
    picks = (draws.uniform(3, "mnist_rgb", 0, 200, 3) * 30).astype(int)
    assert np.array_equal(store.level(32), np.moveaxis(grey[picks], 1, -1))
    assert np.array_equal(store.labels(), picks % 10 @ [1, 10, 100])
    assert len(store.classes) == 1000
    assert store.classes[123] == "123"
    assert len(np.unique(picks)) == 30


def test_mnist_rgb_is_a_function_of_seed_and_position(digits: Path, tmp_path: Path, monkeypatch) -> None:
    long = mnist_rgb_source(digits, "train", count=50, seed=0)
    monkeypatch.setattr("progan.data.recipes.mnist_rgb._BLOCK", 7)
    short = mnist_rgb_source(digits, "train", count=20, seed=0)
    other = mnist_rgb_source(digits, "train", count=20, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(short.read(range(5, 20)), long.read(range(5, 20)), strict=True))
    assert list(short.labels) == list(long.labels)[:20] != list(other.labels)
    assert (long.names[7], len(long.names)) == ("mnist_rgb[7]", 50)
    a = prepare_recipe("mnist_rgb", tmp_path / "a", given=digits, count=20, seed=0, workers=0)
    b = prepare_recipe("mnist_rgb", tmp_path / "a", given=digits, count=20, seed=1, workers=0)
    assert a.hash != b.hash  # the first one is not taken for the second


def test_mnist_rgb_wants_digits_with_labels(digits: Path, pets, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="count must be at least 1, got 0"):
        mnist_rgb_source(digits, "train", count=0, seed=0)
    with pytest.raises(DataError, match=r"not MNIST with its labels\n  found: folder pets, 6 images, 2 classes"):
        mnist_rgb_source(tmp_path / "pets", "train", count=1, seed=0)


def test_checksums_look_like_checksums() -> None:
    for recipe in RECIPES.values():
        assert bool(recipe.files) != bool(recipe.by_hand)
        assert bool(recipe.files) == bool(recipe.mirrors)
        assert all(len(bytes.fromhex(sha256)) == 32 for sha256 in recipe.files.values())
    assert len(RECIPES) == 7 + 30


@pytest.mark.parametrize("place", ["list_attr_celeba.txt", "Anno/list_attr_celeba.txt", "Img/list_attr_celeba.txt"])
def test_attributes_of_celeba_are_labels_by_name(tmp_path: Path, place: str) -> None:
    for i in range(3):
        save(tmp_path / "Img" / "img_align_celeba" / f"{i}.png", np.full((218, 178, 3), i, np.uint8))
    given = tmp_path / "Img" / "img_align_celeba"
    with pytest.raises(DataError, match=r"labels 'Smiling': no attribute file\n  found: no list_attr_celeba.txt or"):
        open_recipe("celeba", PrepareOptions(labels="Smiling"), given=given)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("3\nSmiling Male\n" + "".join(f"{i}.png {(i < 2) * 2 - 1} 1\n" for i in range(3)))
    if place.startswith("list"):
        given = tmp_path / "Img"
    store = prepare_recipe("celeba", tmp_path / "store", PrepareOptions(labels="Smiling"), given=given, workers=0)
    assert (store.classes, store.labels().tolist()) == (("not Smiling", "Smiling"), [1, 1, 0])
    options = PrepareOptions(labels=f"{tmp_path / place}:Male")
    assert prepare_recipe("celeba", tmp_path / "store", options, given=given, workers=0).labels().tolist() == [1] * 3
    with pytest.raises(DataError, match=r"no column 'Simling'\n  found: Smiling, Male"):
        prepare_recipe("celeba", tmp_path / "store", PrepareOptions(labels="Simling"), given=given, workers=0)
    assert prepare_recipe("celeba", tmp_path / "plain", given=given, workers=0).labels() is None


def test_labels_of_a_file_reach_mnist_rgb(digits: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("".join(f"mnist_rgb[{i}],{'ab'[i % 2]}\n" for i in range(4)))
    options = PrepareOptions(labels=str(file))
    store = prepare_recipe("mnist_rgb", tmp_path / "store", options, given=digits, count=4, workers=0)
    assert (store.classes, store.labels().tolist()) == (("a", "b"), [0, 1, 0, 1])
    with pytest.raises(DataError, match=r"2 of \d+ labels are for files that do not exist\n  found: mnist_rgb\[2\]"):
        prepare_recipe("mnist_rgb", tmp_path / "store", options, given=digits, count=2, workers=0)
