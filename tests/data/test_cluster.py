"""Decoding on a Dask cluster gives the store of one process."""

import contextlib
import os
import secrets
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from progan.cli import main
from progan.data import cluster, pipeline
from progan.data.cluster import dask_workers
from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.errors import DataError
from references.image_files import make_tar, noise, save

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def threads():
    """A cluster of two threads of this process."""
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as local,
    ):
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
    assert "found: a/0.png: not an image in a supported format" in capsys.readouterr().err
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
    assert "1 of 1 workers do not have progan" in refusal(threads)
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    assert refusal(threads).endswith("fix:   pip install 'progan[dask]'")


def test_cluster_without_workers_is_told(monkeypatch) -> None:
    wait = distributed.Client.wait_for_workers
    monkeypatch.setattr(
        distributed.Client, "wait_for_workers", lambda client, count, timeout: wait(client, count, 0.01)
    )
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as local:
        assert refusal(local.scheduler_address).endswith(
            f"fix:   start some with 'dask worker {local.scheduler_address}'"
        )


@pytest.mark.parametrize("what", ["workers", "scheduler"])
def test_cluster_that_goes_away_is_told(what, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "_GONE_S", 0.3 if what == "workers" else 60)
    monkeypatch.setattr(cluster, "_LOOK_S", 0.1)
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as local:
        address = local.scheduler_address

        def work() -> None:
            with dask_workers(address) as (executor, _):
                for done, _ in enumerate(pipeline.in_order(executor, time.sleep, [(0.02,)] * 500, 5)):
                    if done == 5 and what == "workers":
                        local.scale(0)
                    elif done == 5:
                        local.close()

        with pytest.raises(DataError) as caught:
            work()
    found = "no workers for 0.3 s" if what == "workers" else "the scheduler no longer answers"
    assert str(caught.value).splitlines()[:2] == [f"{address}: the cluster was lost", f"  found: {found}"]
    assert str(caught.value).endswith("then run the same command again to resume")


def test_job_that_kills_its_workers_is_told(threads) -> None:
    def work() -> None:
        with dask_workers(threads):
            raise distributed.KilledWorker("make_chunk-1", SimpleNamespace(address="tcp://10.0.0.2:3"), 3)

    with pytest.raises(DataError, match=r"the cluster was lost\n  found: 4 workers died decoding the same images"):
        work()


def test_jobs_under_way_grow_with_the_workers(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "_CHUNK_IMAGES", 1)
    seen = []
    real = pipeline.in_order
    monkeypatch.setattr(
        pipeline, "in_order", lambda *args, in_flight: seen.append(in_flight) or real(*args, in_flight=in_flight)
    )
    with ThreadPoolExecutor(1) as executor:
        prepare(make_images(tmp_path / "images"), tmp_path / "store", workers=64, executor=executor)
    assert seen == [129]


@pytest.mark.slow
def test_killed_workers_are_replaced_and_a_lost_cluster_goes_on_later(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "_CHUNK_IMAGES", 5)
    monkeypatch.setattr(cluster, "_GONE_S", 2)
    source, options = make_images(tmp_path / "images", 400), PrepareOptions(resolution="16")
    prepare(source, tmp_path / "one", options, workers=0)
    real = pipeline.in_order
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:

        def run(kill) -> None:
            def in_order(*args, **kwargs):
                for done, chunk in enumerate(real(*args, **kwargs)):
                    if done == 20:
                        kill()
                    yield chunk

            monkeypatch.setattr(pipeline, "in_order", in_order)
            with dask_workers(local.scheduler_address, source) as (executor, workers):
                prepare(source, tmp_path / "dask", options, workers=workers, executor=executor)

        def kill_all() -> None:
            patch.setattr(distributed.Nanny, "instantiate", no_new_worker)
            for nanny in local.workers.values():
                os.kill(nanny.pid, signal.SIGKILL)

        async def no_new_worker(nanny) -> distributed.Status:
            return distributed.Status.running

        with (
            monkeypatch.context() as patch,
            pytest.raises(DataError, match=r"the cluster was lost\n  found: no workers for 2 s"),
        ):
            run(kill_all)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:
        run(lambda: os.kill(next(iter(local.workers.values())).pid, signal.SIGKILL))
    assert files(tmp_path / "dask") == files(tmp_path / "one")


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
