"""Which device is taken, and what memory is free on it."""

from pathlib import Path

import pytest
import torch

from progan.devices import _free_in_groups, free_bytes, pick_device
from progan.errors import ConfigError

CPU = torch.device("cpu")


def test_devices() -> None:
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
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
