"""What is finished survives a kill, a full disk and Ctrl-C, and is not made again."""

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from progan.cli import main
from progan.data import pipeline, unfinished, writer
from progan.data.cluster import dask_workers
from progan.data.columns import Column
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.sources import open_source
from progan.data.unfinished import Unfinished
from progan.errors import DataError
from references.image_files import make_tar, noise, save

COUNT, CHUNK = 20, 3
SKIP = PrepareOptions(on_error="skip")


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def partials(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.partial"))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "_CHUNK_IMAGES", CHUNK)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """20 images of 8x8 in two classes, one of them broken."""
    for i in range(COUNT):
        save(tmp_path / "source" / "ab"[i // 10] / f"{i:02d}.png", noise(8, 8, seed=i))
    (tmp_path / "source" / "a" / "04.png").write_bytes(b"broken")
    return tmp_path / "source"


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """Names of the images that are read from now on, to be decoded here or by workers."""
    names: list[str] = []
    split = pipeline._split

    def spy(records, limit):
        for chunk in split(records, limit):
            names.extend(record.name for record in chunk)
            yield chunk

    monkeypatch.setattr(pipeline, "_split", spy)
    return names


def done_in(folder: Path) -> int:
    """Images that the log of an interrupted store tells of in whole lines."""
    logs = [(path / "progress.jsonl").read_bytes() for path in partials(folder)]
    entries = [json.loads(line) for log in logs for line in log.splitlines(keepends=True) if line.endswith(b"\n")]
    return sum(len(entry["labels"]) + len(entry["skipped"]) for entry in entries)


KILLED = """
import os, signal, sys
from progan.data import pipeline, preparing, unfinished, writer
from progan.data.options import PrepareOptions
pipeline._CHUNK_IMAGES = 7
real, sync = unfinished.write_all, unfinished.sync_folder
left = 1000

def die(file=None, data=b""):
    global left
    left -= 1
    if left < 0:
        if file is not None:
            real(file, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

def write_all(file, data):
    die(file, bytes(data))
    real(file, data)

def sync_folder(path):
    die()
    sync(path)
    die()

unfinished.write_all = writer.write_all = write_all
unfinished.sync_folder = writer.sync_folder = sync_folder
options = PrepareOptions(on_error="skip")
preparing.prepare(sys.argv[1], f"{sys.argv[2]}/first", options)  # loads what is loaded late
for moment in range(60):
    child = os.fork()
    if not child:
        left = moment
        preparing.prepare(sys.argv[1], f"{sys.argv[2]}/{moment:02d}/store", options)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code)
    if not code:
        break
"""


def test_goes_on_after_sigkill_at_every_write_and_gives_equal_files(tmp_path, source, read) -> None:
    wanted = files(prepare(source, tmp_path / "whole", SKIP).path)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    (tmp_path / "killed").mkdir()
    command = [sys.executable, "-c", KILLED, str(source), str(tmp_path / "killed")]
    codes = subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout.split()
    kills = codes.index("0")
    assert codes[:kills] == [str(-signal.SIGKILL)] * kills
    seen = set()
    for moment in range(kills):
        folder, made = tmp_path / "killed" / f"{moment:02d}", tmp_path / "killed" / f"{moment:02d}" / "store"
        done = COUNT if made.exists() else done_in(folder)
        read.clear()
        assert files(prepare(source, made, SKIP).path) == wanted
        assert len(read) == COUNT - done
        assert [p.name for p in folder.iterdir()] == ["store"]
        seen.add(done)
    assert seen == {0, 7, 14, COUNT}


def fill_disk(monkeypatch, after: int) -> None:
    """Let the disk be full after some writes."""
    left = [after]

    def write(file, data) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        file.write(data)

    monkeypatch.setattr(writer, "write_all", write)
    monkeypatch.setattr(unfinished, "write_all", write)


@pytest.mark.parametrize("how", ["here", "processes", "threads", "dask", "tar"])
def test_goes_on_after_a_full_disk_in_every_way_of_working(tmp_path, source, read, monkeypatch, how) -> None:
    if how == "tar":
        names = sorted(source.rglob("*.png"))
        source = make_tar(tmp_path / "a.tar", {p.relative_to(source).as_posix(): p.read_bytes() for p in names})
    wanted = prepare(source, tmp_path / "whole", SKIP)
    with monkeypatch.context() as patch:
        fill_disk(patch, after=11)
        with pytest.raises(DataError, match=r"No space left.*\n  found: .* free .*\n  fix:   free some space"):
            prepare(source, tmp_path / "store", SKIP)
    done = done_in(tmp_path)
    assert done == 3 * CHUNK
    read.clear()
    with contextlib.ExitStack() as stack:
        settings = {}
        if how == "processes":
            settings["workers"] = 2
        elif how == "threads":
            settings["executor"] = stack.enter_context(ThreadPoolExecutor(2))
        elif how == "dask":
            distributed = pytest.importorskip("distributed")
            cluster = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": None}
            local = stack.enter_context(distributed.LocalCluster(**cluster))
            settings["executor"], _ = stack.enter_context(dask_workers(local.scheduler_address, source))
        again = prepare(source, tmp_path / "store", SKIP, **settings)
    assert len(read) == COUNT - done
    assert files(again.path) == files(wanted.path)
    assert not partials(tmp_path)


@pytest.mark.parametrize("after", [11, 25, 28, 30, 32])  # between chunks, and while the store is completed
def test_names_and_columns_survive_an_interruption(tmp_path, source, monkeypatch, after: int) -> None:
    columns = (Column("age", np.arange(COUNT)), Column("box", np.arange(2 * COUNT, dtype=np.float32).reshape(-1, 2)))
    known = replace(open_source(source), columns=columns)
    wanted = prepare(source, tmp_path / "whole", SKIP, source=known)
    with monkeypatch.context() as patch:
        fill_disk(patch, after)
        with pytest.raises(DataError, match="No space left"):
            prepare(source, tmp_path / "store", SKIP, source=known)
    assert done_in(tmp_path) > 4  # behind the broken image
    again = prepare(source, tmp_path / "store", SKIP, source=known)
    assert files(again.path) == files(wanted.path)
    kept = [i for i in range(COUNT) if i != 4]
    assert again.column("age").values.tolist() == kept
    assert again.column("box").values.tolist() == [[2 * i, 2 * i + 1] for i in kept]
    assert list(again.names) == [f"{'ab'[i // 10]}/{i:02d}.png" for i in kept]


def interrupt(monkeypatch, source: Path, target: Path, options: PrepareOptions = SKIP, after: int = 11) -> Path:
    """The folder that a full disk leaves."""
    with monkeypatch.context() as patch:
        fill_disk(patch, after)
        with pytest.raises(DataError, match="No space left"):
            prepare(source, target, options)
    (partial,) = partials(target.parent)
    return partial


@pytest.mark.parametrize("file", ["8x8.npy", "4x4.npy", "progress.jsonl"])
@pytest.mark.parametrize("harm", ["zeros", "cut"])
def test_what_a_power_loss_took_is_made_again(tmp_path, source, read, monkeypatch, file, harm) -> None:
    wanted = prepare(source, tmp_path / "whole", SKIP)
    partial = interrupt(monkeypatch, source, tmp_path / "store")
    path = partial / "store" / file if file.endswith("npy") else partial / file
    data = path.read_bytes()
    middle = 128 + (len(data) - 128) // 2 if file.endswith("npy") else data.index(b"\n", len(data) // 3) + 5
    path.write_bytes(data[:middle] + bytes(len(data) - middle) * (harm == "zeros"))
    read.clear()
    assert files(prepare(source, tmp_path / "store", SKIP).path) == files(wanted.path)
    assert len(read) in (COUNT - CHUNK, COUNT - 2 * CHUNK)


def test_other_options_or_a_changed_source_start_anew(tmp_path, source, read, monkeypatch, capsys) -> None:
    partial = interrupt(monkeypatch, source, tmp_path / "store")
    other = prepare(source, tmp_path / "other", SKIP)
    for options, change in [(PrepareOptions(on_error="skip", channels=1), False), (SKIP, True)]:
        if change:
            os.utime(source / "a" / "00.png", (1, 1))
        interrupted = tmp_path / "mixed" / str(change) / "store"
        interrupted.parent.mkdir(parents=True)
        shutil.copytree(partial, interrupted.with_name(partial.name))
        read.clear()
        prepare(source, interrupted, options, progress=True)
        assert len(read) == COUNT
        assert re.search(r"store\.\w+\.partial: 0 MB of interrupted work .*delete it now", capsys.readouterr().err)
        assert not partials(interrupted.parent)  # the store is complete
    assert partial.exists()
    assert other.count == COUNT - 1


def test_broken_image_costs_nothing_that_was_made_before(tmp_path, source, read, capsys) -> None:
    command = ["prepare", str(source), str(tmp_path / "store"), "--workers", "0", "--resolution", "8"]
    assert main(command) == 2
    told = capsys.readouterr().err
    assert re.search(
        r"store: 3 of 20 images are kept in \S+\.partial; run the same command again to resume, or delete", told
    )
    read.clear()
    assert main([*command, "--on-error", "skip"]) == 0
    assert "store: resuming after 3 of 20 images" in capsys.readouterr().err
    assert len(read) == COUNT - CHUNK


def test_skipped_images_are_no_good_for_a_call_that_does_not_skip(tmp_path, source, monkeypatch) -> None:
    interrupt(monkeypatch, source, tmp_path / "store")
    with pytest.raises(DataError, match=r"an image cannot be used\n  found: a/04.png: not an image"):
        prepare(source, tmp_path / "store", PrepareOptions())


def test_second_call_waits_and_opens_what_the_first_made(tmp_path, source, read, monkeypatch, capsys) -> None:
    waiting, lock, append = threading.Event(), unfinished._lock, writer.PartialStore.append

    def spy(folder, *, wait=False):
        if wait:
            waiting.set()
        return lock(folder, wait=wait)

    monkeypatch.setattr(unfinished, "_lock", spy)
    monkeypatch.setattr(writer.PartialStore, "append", lambda *args: (waiting.wait(10), append(*args)))
    with ThreadPoolExecutor(2) as threads:
        stores = list(threads.map(lambda _: prepare(source, tmp_path / "store", SKIP, progress=True), range(2)))
    assert stores[0] == stores[1]
    assert len(read) == COUNT
    assert "store: waiting for another process that is writing it" in capsys.readouterr().err
    assert not partials(tmp_path)


def test_living_work_is_left_alone_and_dead_work_is_not(tmp_path) -> None:
    dead = Unfinished(tmp_path / "store", "01")
    dead.log({})
    assert dead.close()
    living = Unfinished(tmp_path / "store", "02")
    for name in ("store.x.01.partial", "store2.01.partial"):  # of other targets
        (tmp_path / name).mkdir()
    work = Unfinished(tmp_path / "store", "03")
    (work.path / "made").mkdir()
    work.put(work.path / "made")
    work.close()
    wanted = ["store", "store.02.partial", "store.x.01.partial", "store2.01.partial"]
    assert sorted(p.name for p in tmp_path.iterdir()) == wanted
    assert not living.close()


def test_without_file_locks_a_process_works_in_a_folder_of_its_own(tmp_path, source, monkeypatch) -> None:
    monkeypatch.setattr(unfinished, "_GOES_ON", False)
    with monkeypatch.context() as patch:
        fill_disk(patch, after=11)
        with pytest.raises(DataError, match="No space left"):
            prepare(source, tmp_path / "store", SKIP)
    assert not partials(tmp_path)
    assert prepare(source, tmp_path / "store", SKIP).count == COUNT - 1


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder in which none can be made, whoever asks")
def test_target_that_cannot_be_made_is_named(source) -> None:
    with pytest.raises(DataError, match=r"/proc/store: .*No such file or directory"):
        prepare(source, Path("/proc/store"))


def test_second_process_goes_on_where_the_first_failed_while_it_waited(tmp_path: Path) -> None:
    first = Unfinished(tmp_path / "store", "01")
    first.log("one")
    waits, found = threading.Event(), []

    def go_on() -> None:
        second = Unfinished(tmp_path / "store", "01", say=lambda _: waits.set())
        second.go_on(lambda value: found.append(value) or True)
        second.close(keep=False)

    thread = threading.Thread(target=go_on)
    thread.start()
    assert waits.wait(10)
    assert first.close()
    thread.join(10)
    assert found == ["one"]
    assert not partials(tmp_path)
