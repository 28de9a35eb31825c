"""Which device is taken, how it computes, and what memory is free on it."""

import gc
from pathlib import Path

import pytest
import torch

from progan.devices import (
    Share,
    _free_in_groups,
    exact_fp32,
    free_bytes,
    keep_freed_memory,
    pick_device,
    prepare_training,
)
from progan.errors import ConfigError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "rank", "gpus", "mps", "wanted"),
    [
        ("auto", 0, 0, False, "cpu"),
        ("auto", 0, 0, True, "mps"),
        ("auto", 1, 2, True, "cuda:1"),
        ("cpu", 1, 2, True, "cpu"),
        ("mps", 0, 1, True, "mps"),
        ("cuda", 1, 2, False, "cuda:1"),
        ("cuda:0", 1, 2, False, "cuda:0"),
    ],
)
def test_device_of_a_name(name: str, rank: int, gpus: int, mps: bool, wanted: str, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device(name, rank) == torch.device(wanted)


def test_device_that_is_not_here_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="device 'cuda:1' is not available here"):
        pick_device("cuda:1")
    with pytest.raises(ConfigError, match=r"device 'tpu' is not available here; try --device .*cpu.* or auto"):
        pick_device("tpu")


def test_free_memory_is_known(monkeypatch) -> None:
    assert free_bytes(torch.device("cpu")) > 1 << 20
    monkeypatch.setattr("progan.devices._free_on_machine", lambda: 1000)
    for limits, free in (([], 1000), ([2000, 300], 300)):
        monkeypatch.setattr("progan.devices._free_in_groups", lambda *_, limits=limits: iter(limits))
        assert free_bytes(torch.device("cpu")) == free


@pytest.mark.parametrize("version", [1, 2])
def test_limits_of_containers_and_batch_systems_count(version: int, tmp_path: Path) -> None:
    def group(name: str, limit: str, used: int, cached: int) -> None:
        folder = tmp_path / "cgroup" / ("memory" if version == 1 else "") / name
        folder.mkdir(parents=True)
        (folder / ("memory.limit_in_bytes", "memory.max")[version - 1]).write_text(f"{limit}\n")
        (folder / ("memory.usage_in_bytes", "memory.current")[version - 1]).write_text(f"{used}\n")
        kind = "total_inactive_file" if version == 1 else "inactive_file"
        (folder / "memory.stat").write_text(f"anon 5\n{kind} {cached}\ninactive_file_other 9\n")

    group("slurm", "1000", 700, 100)
    group("slurm/job_7", "500", 600, 50)  # over its limit for a moment
    group("slurm/job_7/step", "max", 300, 0)
    (tmp_path / "self").write_text(
        "12:cpuset:/slurm\n5:memory:/slurm/job_7/step\n" if version == 1 else "0::/slurm/job_7/step\n"
    )
    assert list(_free_in_groups(tmp_path / "self", tmp_path / "cgroup")) == [0, 400]
    assert list(_free_in_groups(tmp_path / "none", tmp_path / "cgroup")) == []


GPU = torch.device("cuda", 1)


@pytest.fixture
def memory(monkeypatch) -> dict[str, int]:
    """Bytes that devices seem to have: free, and reserved by torch on a GPU."""
    gc.collect()  # shares of other tests
    sizes = {"free": 1000, "reserved": 0}
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr("progan.devices.free_bytes", lambda device: sizes["free"])
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda device: sizes["reserved"] if device == GPU else 1 / 0)
    return sizes


@pytest.mark.parametrize("device", [CPU, GPU])
def test_what_is_kept_shares_half_of_what_training_leaves(device: torch.device, memory: dict) -> None:
    training = Share(device, needed=200)
    level, reals = Share(device), Share(device)
    assert not level.hold(401)
    assert level.held == 0
    assert level.hold(300)
    memory["free"], memory["reserved"] = 700, 300  # it was allocated
    assert not reals.hold(101)
    assert reals.hold(100)
    memory["free"], memory["reserved"] = 600, 400
    assert not reals.hold(101)
    assert reals.held == 100
    assert level.hold(250)
    memory["free"], memory["reserved"] = 650, 350
    assert reals.hold(150)
    del level
    memory["free"], memory["reserved"] = 850, 150
    assert reals.hold(400)
    del training
    assert reals.hold(500)
    assert Share(CPU if device == GPU else torch.device("cuda", 1)).hold(0)


def test_what_training_has_allocated_on_a_gpu_is_not_counted_twice(memory: dict) -> None:
    training, level = Share(GPU, needed=600), Share(GPU)
    for allocated in (0, 300, 600):
        memory["free"], memory["reserved"] = 1000 - allocated, allocated
        assert not level.hold(201)
        assert level.hold(200)
        level.hold(0)
    assert training.needed == 600


def test_processes_on_one_machine_share_its_memory(memory: dict, monkeypatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    training, mine = Share(CPU, needed=50), Share(CPU)
    assert not mine.hold(101)
    assert mine.hold(100)
    other = Share(GPU)  # each process has its own
    assert other.hold(500)
    assert training.needed == 50


@pytest.mark.parametrize(
    ("most", "calls"),
    [
        (1 << 62, [(-3, 1 << 30), (-1, 2**31 - 1)]),
        (32 << 20, [(-3, 1 << 30), (-3, 32 << 20), (-1, 2**31 - 1)]),  # glibc before 2.36 on 64 bits
        (512 << 10, [(-3, 1 << 30), (-3, 32 << 20)]),  # on 32 bits: alone, the other option makes all of it slower
    ],
)
def test_freed_memory_is_kept_as_far_as_the_library_allows(most: int, calls: list, monkeypatch) -> None:
    seen = []

    class Library:
        def mallopt(self, option: int, value: int) -> int:
            seen.append((option, value))
            return int(option != -3 or value <= most)

    monkeypatch.setattr("ctypes.CDLL", lambda name: Library())
    monkeypatch.setattr("sys.platform", "linux")
    keep_freed_memory()
    assert seen == calls


@pytest.mark.parametrize("library", [lambda name: object(), lambda name: Path("/no/such/file").stat()])
def test_other_libraries_are_left_alone(library: object, monkeypatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", library)
    keep_freed_memory()


def test_fp32_is_not_tf32() -> None:
    backends = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = True
        exact_fp32()
        assert [backend.allow_tf32 for backend in backends] == [False, False]
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


@pytest.mark.parametrize("name", ["cpu", "cuda:1"])
def test_training_prepares_its_device(name: str, monkeypatch) -> None:
    done = []
    monkeypatch.setattr("torch.cuda.set_device", lambda device: done.append(str(device)))
    monkeypatch.setattr("progan.devices.keep_freed_memory", lambda: done.append("cpu"))
    for setting in ("allow_tf32", "benchmark"):
        monkeypatch.setattr(torch.backends.cudnn, setting, setting == "allow_tf32")
    prepare_training(torch.device(name))
    assert done == [name]
    assert torch.backends.cudnn.benchmark == (name != "cpu")
    assert not torch.backends.cudnn.allow_tf32
