import errno
import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from progan.data import pipeline, unfinished, writer
from progan.data.options import PrepareOptions
from progan.data.preparing import cached, prepare
from progan.data.store import Store
from progan.errors import ConfigError, DataError
from references import store_reference as reference
from references.image_files import encoded, make_tar, make_zip, noise, save


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if "partial" in p.name]


def test_levels_and_labels_match_reference(tmp_path: Path, pets: dict) -> None:
    store = prepare(tmp_path / "pets", tmp_path / "store")
    assert (store.height, store.width, store.channels, store.count) == (16, 16, 3, 6)
    assert store.resolutions == (4, 8, 16)
    for side in store.resolutions:
        level = store.level(side)
        assert isinstance(level, np.memmap)
        assert not level.flags.writeable
        wanted = np.stack([reference.box_level(image, 16 // side) for image in pets.values()])
        np.testing.assert_array_equal(level, wanted)
    assert store.labels().tolist() == [0, 0, 0, 1, 1, 1]
    assert store.classes == ("cat", "dog")
    content = np.stack(list(pets.values())).tobytes() + np.array([0, 0, 0, 1, 1, 1], "<i8").tobytes()
    assert store.hash == hashlib.sha256(content + b"(6, 16, 16, 3)").hexdigest()
    assert Store.open(tmp_path / "store") == store


def test_non_square_store(tmp_path: Path) -> None:
    pixels = noise(16, 32)
    save(tmp_path / "source" / "1.png", pixels)
    store = prepare(tmp_path / "source", tmp_path / "store", PrepareOptions(resolution="16x32"))
    levels = ["16x32.npy", "4x8.npy", "8x16.npy"]
    assert sorted(files(tmp_path / "store")) == [*levels, "manifest.json", "names.npy", "names.txt"]
    np.testing.assert_array_equal(store.level(4)[0], reference.box_level(pixels, 4))
    assert store.labels() is None


def test_idx_files_are_padded_to_32(tmp_path: Path, mnist: Path) -> None:
    store = prepare(mnist, tmp_path / "store", PrepareOptions(split="test"))
    raw = np.frombuffer((mnist / "t10k-images-idx3-ubyte").read_bytes()[16:], np.uint8).reshape(5, 28, 28, 1)
    np.testing.assert_array_equal(store.level(32), np.stack([reference.pad_center(image, 32) for image in raw]))
    assert (store.channels, store.classes) == (1, tuple("01478"))  # those that occur


def test_folder_zip_and_tar_give_equal_content(tmp_path: Path, pets: dict) -> None:
    packed = {name: encoded(pixels) for name, pixels in reversed(pets.items())}
    paths = [tmp_path / "pets", make_zip(tmp_path / "a.zip", packed), make_tar(tmp_path / "a.tar.gz", packed)]
    stores = [prepare(path, tmp_path / f"store{i}") for i, path in enumerate(paths)]
    assert len({store.hash for store in stores}) == 1
    assert prepare(paths[0], tmp_path / "grey", PrepareOptions(channels=1)).hash != stores[0].hash
    assert prepare(paths[0], tmp_path / "none", PrepareOptions(labels="none")).hash != stores[0].hash


def test_parallel_equals_serial(tmp_path: Path) -> None:
    for i in range(300):
        save(tmp_path / "source" / f"{i:03d}.png", noise(8, 8, seed=i))
    (tmp_path / "source" / "150.png").write_bytes(b"broken")
    options = PrepareOptions(on_error="skip")
    prepare(tmp_path / "source", tmp_path / "serial", options, workers=0)
    prepare(tmp_path / "source", tmp_path / "processes", options, workers=2)
    assert not multiprocessing.active_children()
    with ThreadPoolExecutor(3) as executor:
        prepare(tmp_path / "source", tmp_path / "threads", options, executor=executor)
    assert files(tmp_path / "serial") == files(tmp_path / "processes") == files(tmp_path / "threads")
    assert Store.open(tmp_path / "serial").count == 299


@pytest.mark.parametrize("pays", [False, True])
def test_worker_processes_start_if_the_first_chunk_says_that_they_pay(tmp_path, monkeypatch, pays: bool) -> None:
    for i in range(20):
        save(tmp_path / "source" / f"{i:03d}.png", noise(8, 8, seed=i))
    started = []
    monkeypatch.setattr(pipeline, "_CHUNK_IMAGES", 3)
    monkeypatch.setattr(pipeline, "usable_cpus", lambda: 2)
    monkeypatch.setattr(pipeline, "_PAYS_S", 0 if pays else 60)
    monkeypatch.setattr(pipeline, "_pool", lambda count: started.append(count) or ThreadPoolExecutor(count))
    store = prepare(tmp_path / "source", tmp_path / "store")
    assert started == [2] * pays
    assert store.hash == prepare(tmp_path / "source", tmp_path / "serial", workers=0).hash


@pytest.mark.parametrize(("sizes", "side"), [((20, 33, 40), 32), ((64, 64, 64), 64), ((31, 31, 90), 16)])
def test_auto_resolution_is_a_power_of_two_below_the_median(tmp_path: Path, sizes: tuple, side: int) -> None:
    for i, size in enumerate(sizes):
        save(tmp_path / "source" / f"{i}.png", noise(size, size + 5))
    store = prepare(tmp_path / "source", tmp_path / "store", PrepareOptions(upscale=True))
    assert (store.height, store.width) == (side, side)
    sizes_seen = store.manifest["sizes"]
    assert sizes_seen["smallest"] == [min(sizes), min(sizes) + 5]
    assert sizes_seen["distinct"] == len(set(sizes))


@pytest.mark.parametrize(("modes", "channels"), [("LL", 1), ("LR", 3), ("RL", 3)])
def test_auto_channels_is_grey_only_if_all_are(tmp_path: Path, modes: str, channels: int) -> None:
    for i, mode in enumerate(modes):
        save(tmp_path / "source" / f"{i}.png", noise(8, 8, 1 if mode == "L" else 3))
    assert prepare(tmp_path / "source", tmp_path / "store").channels == channels


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_truncated_jpeg_fails_or_is_skipped_and_is_named(tmp_path: Path, pets: dict, kind: str) -> None:
    data = encoded(noise(64, 64), "JPEG")
    (tmp_path / "pets" / "cat" / "broken.jpg").write_bytes(data[: len(data) // 2])
    path = tmp_path / "pets"
    if kind == "zip":
        inside = {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*.*") if p.is_file()}
        path = make_zip(tmp_path / "pets.zip", inside)
    options = PrepareOptions(resolution="16")
    with pytest.raises(DataError, match=r"an image cannot be used\n  found: cat/broken.jpg: broken image.*truncated"):
        prepare(path, tmp_path / "store", options)
    assert not (tmp_path / "store").exists()
    assert not leftovers(tmp_path)
    store = prepare(path, tmp_path / "store", PrepareOptions(resolution="16", on_error="skip"))
    assert store.count == 6
    assert [text.split(":")[0] for text in store.manifest["skipped"]] == ["cat/broken.jpg"]
    assert store.labels().tolist() == [0, 0, 0, 1, 1, 1]


def test_nothing_usable_and_missing_labels_are_errors(tmp_path: Path) -> None:
    save(tmp_path / "source" / "1.png", noise(8, 8))
    with pytest.raises(DataError, match=r"1.png: its usable area is 8x8 pixels"):
        prepare(tmp_path / "source", tmp_path / "store", PrepareOptions(resolution="16"))
    with pytest.raises(DataError, match=r"none of the 1 images can be used\n  found: 1.png"):
        prepare(tmp_path / "source", tmp_path / "store", PrepareOptions(resolution="16", on_error="skip"))
    with pytest.raises(DataError, match="no labels, but --labels folder requires them"):
        prepare(tmp_path / "source", tmp_path / "store", PrepareOptions(labels="folder"))
    assert not leftovers(tmp_path)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"resolution": "0"}, "both sides must be at least 1"),
        ({"resolution": "big"}, "must look like 64"),
        ({"crop": "1,2,3"}, "crop must be none, center or X,Y,W,H"),
        ({"crop": "1,2,0,4"}, "crop must be"),
        ({"channels": 2}, "channels must be auto, 1, 3 or 4; got 2"),
        ({"fit": "squeeze"}, "fit must be one of auto, crop, pad, stretch; got 'squeeze'"),
    ],
)
def test_bad_options_are_named(setting: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PrepareOptions(**setting)


@pytest.mark.parametrize("after", range(13))
def test_full_disk_is_one_error_and_leaves_the_old_store(tmp_path: Path, pets: dict, monkeypatch, after: int) -> None:
    prepare(tmp_path / "pets", tmp_path / "store", PrepareOptions(resolution="8"))
    before = files(tmp_path / "store")
    calls = []

    def write(file, data) -> None:
        calls.append(len(data))
        if len(calls) > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        file.write(data)

    monkeypatch.setattr(writer, "write_all", write)
    monkeypatch.setattr(unfinished, "write_all", write)
    with pytest.raises(DataError, match=r"store: cannot write the store \(No space left.*\n  found: .* GB free"):
        # writes 3 levels, a line, 3 headers, 2 of labels, names, 2 of offsets, manifest
        prepare(tmp_path / "pets", tmp_path / "store")
    assert files(tmp_path / "store") == before
    assert len(leftovers(tmp_path)) == (after >= 4)  # finished images wait for the next call


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_write_all_reports_a_full_device() -> None:
    with Path("/dev/full").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        writer.write_all(file, b"x" * 10)


def test_failed_rename_puts_the_old_store_back(tmp_path: Path, pets: dict, monkeypatch) -> None:
    prepare(tmp_path / "pets", tmp_path / "store", PrepareOptions(resolution="8"))
    before, rename = files(tmp_path / "store"), Path.rename

    def fail(self: Path, target: Path):
        if self.parent.name.endswith(".partial") and self.name == "store":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(DataError, match="Input/output error"):
            prepare(tmp_path / "pets", tmp_path / "store")
    assert files(tmp_path / "store") == before
    assert prepare(tmp_path / "pets", tmp_path / "store").height == 16
    assert not leftovers(tmp_path)


def test_only_stores_are_replaced(tmp_path: Path, pets: dict) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text("{}")
    for name in ("mine", "other", "pets"):
        before = sorted((tmp_path / name).rglob("*"))
        with pytest.raises(DataError, match="will not be overwritten, because it is not a store"):
            prepare(tmp_path / "pets", tmp_path / name)
        assert sorted((tmp_path / name).rglob("*")) == before
    (tmp_path / "empty").mkdir()
    assert prepare(tmp_path / "pets", tmp_path / "empty").count == 6


def test_equal_store_is_reused_and_another_one_replaced(tmp_path: Path, pets: dict) -> None:
    prepare(tmp_path / "pets", tmp_path / "store")
    inode = (tmp_path / "store").stat().st_ino
    prepare(tmp_path / "pets", tmp_path / "store")
    assert (tmp_path / "store").stat().st_ino == inode
    assert prepare(tmp_path / "pets", tmp_path / "store", PrepareOptions(resolution="8")).height == 8
    save(tmp_path / "pets" / "cat" / "7.png", noise(16, 16))
    assert prepare(tmp_path / "pets", tmp_path / "store", PrepareOptions(resolution="8")).count == 7


SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell ignores for what it starts in the background
from progan.data import preparing, writer
append = writer.PartialStore.append
def slow(self, chunk):
    append(self, chunk)
    print("writing", flush=True)
    time.sleep(60)
writer.PartialStore.append = slow
preparing.prepare(sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_run_leaves_the_old_store_and_what_is_finished(tmp_path: Path, pets: dict, how) -> None:
    prepare(tmp_path / "pets", tmp_path / "store", PrepareOptions(resolution="8"))
    before = files(tmp_path / "store")
    command = [sys.executable, "-c", SLOW, str(tmp_path / "pets"), str(tmp_path / "store")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        assert process.stdout.readline() == b"writing\n"
        (partial,) = leftovers(tmp_path)
        with pytest.raises(BlockingIOError), unfinished._lock(tmp_path / partial):  # a living writer holds its folder
            pass
        process.send_signal(how)
    assert files(tmp_path / "store") == before
    assert leftovers(tmp_path) == [partial]
    prepare(tmp_path / "pets", tmp_path / "store")
    assert not leftovers(tmp_path)


def test_store_that_was_moved_aside_comes_back(tmp_path: Path, pets: dict) -> None:
    store = prepare(tmp_path / "pets", tmp_path / "store")
    (tmp_path / "store.0123.partial").mkdir()
    (tmp_path / "store").rename(tmp_path / "store.0123.partial" / "old")
    with pytest.raises(DataError):
        prepare(tmp_path / "pets", tmp_path / "store", PrepareOptions(resolution="32"))
    assert Store.open(tmp_path / "store") == store


def test_opening_what_is_no_store_says_what_it_is(tmp_path: Path, pets: dict) -> None:
    with pytest.raises(DataError, match=r"pets: not a store\n  found: .*cat, dog.*\n  fix:   .*progan prepare"):
        Store.open(tmp_path / "pets")
    with pytest.raises(DataError, match="no such file or folder"):
        Store.open(tmp_path / "pest")
    with pytest.raises(DataError, match=r"not a store\n  found: a file of 5 bytes"):
        Store.open(tmp_path / "pets" / "readme.txt")


def test_damaged_stores_are_named(tmp_path: Path, pets: dict) -> None:
    path = tmp_path / "store"
    prepare(tmp_path / "pets", path)
    manifest = json.loads((path / "manifest.json").read_text())
    os.truncate(path / "8x8.npy", 1000)
    with pytest.raises(DataError, match=r"8x8.npy: truncated or damaged\n  found: 1000 bytes, expected 1280"):
        Store.open(path)
    (path / "8x8.npy").unlink()
    with pytest.raises(DataError, match=r"8x8.npy: missing"):
        Store.open(path)
    for text, message in [
        (json.dumps(manifest | {"version": 99}), r"unknown version\n  found: version 99, expected 2 or older"),
        ("{", "manifest.json: damaged"),
        (json.dumps({k: v for k, v in manifest.items() if k != "count"}), r"damaged \(missing entry: 'count'\)"),
    ]:
        (path / "manifest.json").write_text(text)
        with pytest.raises(DataError, match=message):
            Store.open(path)


def test_missing_resolution_names_those_that_are_there(tmp_path: Path, pets: dict) -> None:
    store = prepare(tmp_path / "pets", tmp_path / "store")
    with pytest.raises(DataError, match=r"shorter side of 32\n  found: 16x16, 8x8, 4x4\n  fix: .*--resolution 32"):
        store.level(32)


def test_cached_prepares_once(tmp_path: Path, pets: dict, monkeypatch) -> None:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path / "cache"))
    first = cached(tmp_path / "pets")
    assert first.path.parent == tmp_path / "cache" / "stores"
    inode = first.path.stat().st_ino
    assert cached(tmp_path / "pets").path.stat().st_ino == inode
    assert cached(tmp_path / "pets", PrepareOptions(resolution="8")).path != first.path
    os.utime(tmp_path / "pets" / "cat" / "0.png", (time.time(), 1))
    assert cached(tmp_path / "pets").path != first.path
    assert cached(tmp_path / "pets", cache_dir=tmp_path / "here").path.parent == tmp_path / "here"


def test_cached_opens_a_store_that_is_large_enough(tmp_path: Path, pets: dict) -> None:
    store = prepare(tmp_path / "pets", tmp_path / "store")
    assert cached(tmp_path / "store") == store
    assert cached(tmp_path / "store", PrepareOptions(resolution="8")) == store
    for resolution in ("32", "8x16"):
        with pytest.raises(DataError, match=r"no .* images\n  found: 16x16, 8x8, 4x4\n"):
            cached(tmp_path / "store", PrepareOptions(resolution=resolution))
    with pytest.raises(DataError, match="is already a store"):
        prepare(tmp_path / "store", tmp_path / "store2")


@pytest.mark.parametrize("name", ["n" * 255, "\u732b" * 85, "n" * 230])
def test_names_of_the_longest_files_are_stores_too(tmp_path: Path, name: str) -> None:
    for i in range(2):
        save(tmp_path / name / f"{i}.png", noise(8, 8, seed=i))
    store = prepare(tmp_path / name, tmp_path / "out" / name, workers=0)
    assert (store.path.name, len(list((tmp_path / "out").iterdir()))) == (name, 1)
    others = [tmp_path / name, tmp_path / (name[:-1] + "x")]
    others[0].rename(others[1])
    others[0].mkdir()
    save(others[0] / "a.png", noise(8, 8, seed=5))
    found = [cached(folder, cache_dir=tmp_path / "cache", workers=0) for folder in (others[0], *others)]
    assert [store.count for store in found] == [1, 1, 2]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_work_on_long_names_is_resumed_and_removed(tmp_path: Path, pets: dict, monkeypatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    name = "n" * 255
    with monkeypatch.context() as patch:
        patch.setattr(writer.PartialStore, "commit", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path / "pets", tmp_path / name, workers=0)
    (left,) = leftovers(tmp_path)
    assert len(left) <= 255
    monkeypatch.setattr(pipeline, "make_chunk", stop)  # all images are there
    assert prepare(tmp_path / "pets", tmp_path / name, workers=0).count == len(pets)
    assert not leftovers(tmp_path)
