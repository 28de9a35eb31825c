"""Devices: which one to take, what memory is free on it, and what it cannot do."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from progan.errors import ConfigError


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """The device called ``name``; auto: CUDA, else MPS, else the CPU.

    Raises:
        ConfigError: if that device is not on this machine.
    """
    counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    there = [kind for kind, count in counts.items() if count]
    kind, _, number = (there[0] if name == "auto" else name).partition(":")
    if kind not in there or (number and not (number.isdecimal() and int(number) < counts[kind])):
        raise ConfigError(f"device {name!r} is not available here; try --device {', '.join(there)} or auto")
    return torch.device(f"{kind}:{number or local_rank}" if kind == "cuda" else kind)


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory for the next large tensor; page faults cost up to half of a weight's gradient."""
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        except (OSError, AttributeError):  # another C library
            return


def float64_device(device: str) -> torch.device:
    """Where sums in float64 can be made: ``device``, or the CPU in place of an Apple GPU, which has no float64."""
    return torch.device("cpu" if torch.device(device).type == "mps" else device)


def free_bytes(device: torch.device) -> int:
    """Memory that this process may still take on a device [bytes]."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min([_free_on_machine(), *_free_in_groups(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def _free_on_machine() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        if "MemAvailable" in fields:
            return int(fields["MemAvailable"].split()[0]) * 1024
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 4 << 30  # unknown; a level of 1 GiB is held then


def _free_in_groups(groups: Path, root: Path) -> Iterator[int]:
    """What containers and batch systems still grant this process [bytes], by control groups of version 2 and 1.

    Cached files count as used there, but those not in use make room.
    """
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, kinds, name = line.split(":", 2)
        if kinds == "":
            base, limit, used, cached = root, "memory.max", "memory.current", "inactive_file "
        elif "memory" in kinds.split(","):
            base, limit, used, cached = (
                root / kinds,
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file ",
            )
        else:
            continue
        group = base / name.strip("/")
        for folder in (group, *group.parents):
            with suppress(OSError, ValueError):  # ValueError: "max"
                limited = int((folder / limit).read_text())
                taken = int((folder / used).read_text())
                lines = (folder / "memory.stat").read_text().splitlines()
                room = sum(int(line.removeprefix(cached)) for line in lines if line.startswith(cached))
                yield max(limited - taken + room, 0)
            if folder == base:
                break
