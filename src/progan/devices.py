"""Devices: selection, arithmetic, and how their memory is shared."""

import ctypes
import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import torch

from progan.errors import ConfigError


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """Return the device called ``name``; "auto" means CUDA if available, else MPS, else the CPU.

    Args:
        name: "auto", or a type of device with or without a number, such as "cuda" or "cuda:1".
        local_rank: number of the GPU if ``name`` does not contain one.

    Raises:
        ConfigError: if this machine does not have the device.
    """
    counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    there = [kind for kind, count in counts.items() if count]
    kind, _, number = (there[0] if name == "auto" else name).partition(":")
    if kind not in there or (number and not (number.isdecimal() and int(number) < counts[kind])):
        raise ConfigError(f"device {name!r} is not available here; try --device {', '.join(there)} or auto")
    return torch.device(f"{kind}:{number or local_rank}" if kind == "cuda" else kind)


def exact_fp32() -> None:
    """Let GPUs compute float32 in float32: cuDNN uses TF32 (10 bits of mantissa) by default on Ampere and later."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def prepare_training(device: torch.device) -> None:
    """Set what all training on a device needs, for the whole process.

    float32 is computed exactly, whatever the precision of the run: with 16 bits, only what needs more is in float32.
    cuDNN measures which algorithm is the fastest for each shape, of which a run has few. The device becomes the current
    one, so that pinned memory belongs to it and no other GPU is touched. The CPU keeps freed memory.
    """
    exact_fp32()
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        if device.index is not None:
            torch.cuda.set_device(device)
    if device.type == "cpu":
        keep_freed_memory()


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory for the next large tensor; page faults cost up to half of a weight's gradient."""
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            # Before 2.36, glibc refuses to take more than 32 MiB (32-bit: 512 KiB) from the heap. With 32 MiB, smaller
            # tensors are kept and larger ones are mapped as before. If that is refused too, the second option must not
            # be set: either of them ends glibc's own adjustment of the first one, which starts at 128 KiB, so that
            # every tensor would be mapped anew.
            for heap_below in (1 << 30, 32 << 20):
                if libc.mallopt(-3, heap_below):  # M_MMAP_THRESHOLD; 0: refused
                    libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
                    return
        except (OSError, AttributeError):  # another C library
            return


def float64_device(device: str) -> torch.device:
    """Return ``device``, or the CPU instead of an Apple GPU, which does not support float64."""
    return torch.device("cpu" if torch.device(device).type == "mps" else device)


class Share:
    """Memory of a device that is set aside for one purpose for as long as this object exists.

    Training comes first: what its most demanding stage needs is set aside without asking. Whatever else is kept on the
    device (a level of images, descriptors of a metric) gets half of the rest at most, all of it together; the other
    half is for what is computed with it and for other programs. Processes of torchrun on the same machine share its
    memory equally.

    Args:
        device: where the memory is.
        needed: bytes that are set aside in any case, and may not be allocated yet.
    """

    _all: ClassVar["weakref.WeakSet[Share]"] = weakref.WeakSet()

    def __init__(self, device: torch.device, *, needed: int = 0) -> None:
        self.device, self.needed, self.held = _memory_of(device), needed, 0
        Share._all.add(self)

    def hold(self, size: int) -> bool:
        """Set aside ``size`` bytes in all, to be allocated at once, if they are left; otherwise change nothing."""
        shares = [share for share in Share._all if share.device == self.device]
        held, ranks = sum(share.held for share in shares), 1
        whole = free_bytes(self.device)
        if self.device.type == "cuda":
            whole += torch.cuda.memory_reserved(self.device)
        else:
            whole, ranks = whole + held, ranks_here()
        left = (whole // ranks - sum(share.needed for share in shares)) // 2 - (held - self.held)
        if size and size > left:
            return False
        self.held = size
        return True


def _memory_of(device: torch.device) -> torch.device:
    """The device whose memory it uses: an Apple GPU uses the machine's, and "cuda" means the current GPU."""
    if device.type != "cuda":
        return torch.device("cpu")
    return device if device.index is not None else torch.device("cuda", torch.cuda.current_device())


def ranks_here() -> int:
    """Number of torchrun's processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device, within the limits of this process [bytes]."""
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
    """Yield what containers and batch systems still grant this process [bytes]; control groups of version 2 and 1.

    Their usage includes cached files, but inactive ones are dropped when memory is needed.
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
