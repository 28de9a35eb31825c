"""Decoding on a Dask cluster gives the store of one process."""

import contextlib
import secrets
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from progan.cli import main
from progan.data import cluster, pipeline
from progan.data.cluster import dask_workers
from progan.data.options import PrepareOptions
from progan.data.store import prepare
from progan.errors import DataError
from references.image_files import make_tar, noise, save

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def threads():
    """A cluster of two threads of this process."""
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as local,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(cluster, "_WAIT_S", 2)
        yield local.scheduler_address


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def make_images(folder: Path, count: int = 20) -> Path:
    for i in range(count):
        save(folder / "ab"[i % 2] / f"{i}.png", noise(16, 16, seed=i))
    return folder


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_store_of_the_command_equals_that_of_one_process(tmp_path, monkeypatch, threads, kind) -> None:
    monkeypatch.setattr(pipeline, "_CHUNK_IMAGES", 3)
    monkeypatch.chdir(tmp_path)
    make_images(Path("images"))
    if kind == "tar":
        names = sorted(Path("images").rglob("*.png"))
        make_tar(tmp_path / "images.tar", {str(path): path.read_bytes() for path in names})
    source = "images" if kind == "folder" else "images.tar"
    assert main(["prepare", source, "one", "--workers", "0"]) == 0
    assert main(["prepare", source, "dask", "--dask", threads]) == 0
    assert files(tmp_path / "dask") == files(tmp_path / "one")
    assert not list(tmp_path.glob("*.partial"))


def test_broken_image_is_one_line(tmp_path, threads, capsys) -> None:
    (make_images(tmp_path / "images") / "a" / "0.png").write_bytes(b"nothing")
    assert main(["prepare", str(tmp_path / "images"), str(tmp_path / "store"), "--dask", threads]) == 2
    assert "found: a/0.png: not an image of" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["images"]


def refusal(address: str, path: Path | None = None) -> str:
    with pytest.raises(DataError) as caught, contextlib.ExitStack() as stack:
        stack.enter_context(dask_workers(address, path))
    return str(caught.value)


@pytest.mark.parametrize("address", ["nowhere", "tcp://127.0.0.1:1"])
def test_address_where_nobody_answers_is_told(address, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "_WAIT_S", 0.5)
    assert f"no Dask scheduler answers at {address!r}\n" in refusal(address)


def test_cluster_that_cannot_do_it_is_told(tmp_path, monkeypatch, threads) -> None:
    monkeypatch.setattr(cluster, "os", SimpleNamespace(path=SimpleNamespace(isdir=lambda path: False)))
    assert "1 of 1 workers cannot see this folder\n" in refusal(threads, tmp_path)
    monkeypatch.setattr(cluster, "version", lambda _: secrets.token_hex(4))  # another one whenever it is asked
    assert "1 of 1 workers are without progan" in refusal(threads)
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    assert refusal(threads).endswith("fix:   pip install 'progan[dask]'")


def test_cluster_without_workers_is_told(monkeypatch) -> None:
    monkeypatch.setattr(cluster, "_WAIT_S", 0.5)
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as local:
        assert refusal(local.scheduler_address).endswith(f"fix:   dask worker {local.scheduler_address}")


def test_jobs_under_way_grow_with_the_workers(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "_CHUNK_IMAGES", 1)
    seen = []
    real = pipeline.in_order
    monkeypatch.setattr(pipeline, "in_order", lambda *args, in_flight: seen.append(in_flight) or real(*args, in_flight))
    with ThreadPoolExecutor(1) as executor:
        prepare(make_images(tmp_path / "images"), tmp_path / "store", workers=64, executor=executor)
    assert seen == [129]


@pytest.mark.slow
def test_two_worker_processes(tmp_path) -> None:
    source, options = make_images(tmp_path / "images", 600), PrepareOptions(resolution="16")
    prepare(source, tmp_path / "one", options, workers=0)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        dask_workers(local.scheduler_address, source) as (executor, workers),
    ):
        assert workers == 2
        prepare(source, tmp_path / "dask", options, workers=workers, executor=executor)
    assert files(tmp_path / "dask") == files(tmp_path / "one")
