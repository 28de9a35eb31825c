"""Weights of published networks: read without running code from their file, checked, hashed and folded."""

import collections
import hashlib
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from progan.download import check, fetch, file_sha256
from progan.errors import DataError
from progan.files import cache_path

UNPUBLISHED = "the weights are not a published file"
NORM = ("weight", "bias", "running_mean", "running_var")
"""Tensors of a batch norm in a state dict."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """Published file of weights."""

    file: str
    """Name of the file."""
    url: str
    """Address of the file."""
    sha256: str
    """SHA-256 of the file, in hex."""


def locate(published: Sequence[Published], weights: Path | None = None) -> tuple[Path, bool]:
    """Return the file of weights to use, and whether it is identical to one of the ``published`` files.

    Without ``weights``, this is a published file in the cache folder, or else the first one, which is downloaded.

    Raises:
        DataError: if the file does not exist or cannot be downloaded, or if it has the name of a published file but not
            its SHA-256.
    """
    if weights is None:
        there = [file for file in published if cache_path(f"weights/{file.file}").exists()]
        file = (there or list(published))[0]
        return fetch(f"weights/{file.file}", file.url, file.sha256), True
    if not weights.is_file():
        raise DataError(
            f"{weights}: no such file\n"
            f"  wanted: weights, for example {published[0].url}\n"
            f"  fix:    set the path of the file, or omit the setting to download it"
        )
    for file in published:
        if weights.name == file.file:
            check(weights, file.sha256)
    return weights, file_sha256(weights) in {file.sha256 for file in published}


def weight_hash(state: Mapping[str, Tensor]) -> str:
    """Return the first 16 hex digits of the SHA-256 over names, shapes and float32 values, sorted by name.

    >>> weight_hash({"b": torch.ones(2), "a": torch.zeros(1)}) == weight_hash({"a": torch.zeros(1), "b": torch.ones(2)})
    True
    """
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()[:16]


def read_state(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a state dict or of a TorchScript file by name, on the CPU; code in the file is never run.

    Raises:
        DataError: if the file is something else, or contains more than tensors.
    """
    try:
        if _is_torchscript(path):
            return _read_torchscript(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken or hostile file raises almost anything
        reason = str(error).splitlines()[0] if str(error) else "broken"
        raise DataError(
            f"{path}: cannot read weights ({type(error).__name__}: {reason})\n"
            f"  wanted: a state dict or a TorchScript file\n  fix:    download it again"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(f"{path}: contains a {type(state).__name__}, expected a state dict: tensors by name")
    return dict(state)


def fitted(state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], path: Path) -> dict[str, Tensor]:
    """Return the tensors named in ``shapes`` as float32, in that order; batch counters are omitted.

    Raises:
        DataError: if a tensor is missing, unknown, not finite or of another shape.
    """
    found = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    wrong = [f"{name}: missing" for name in shapes if name not in found]
    wrong += [f"{name}: unknown" for name in found if name not in shapes]
    for name in [name for name in shapes if name in found]:
        if tuple(found[name].shape) != shapes[name]:
            wrong.append(f"{name}: {list(found[name].shape)} instead of {list(shapes[name])}")
        elif not torch.isfinite(found[name]).all():
            wrong.append(f"{name}: not finite")
    if wrong:
        raise DataError(
            f"{path}: these are not the weights of this network, {len(wrong)} tensors do not match\n"
            f"  found: {'; '.join(wrong[:3])}\n  fix:   use another file, or omit the setting to use the published one"
        )
    return {name: found[name].float() for name in shapes}


def folded(weight: Tensor, norm: Mapping[str, Tensor], eps: float) -> tuple[Tensor, Tensor]:
    """Fold a trained batch norm into the convolution before it, which has no bias; return weight and bias.

    Args:
        weight: weight of the convolution.
        norm: tensors of the batch norm, as named in NORM.
        eps: epsilon of the batch norm.
    """
    scale = norm["weight"].double() / (norm["running_var"].double() + eps).sqrt()
    bias = norm["bias"].double() - norm["running_mean"].double() * scale
    kernel = (weight.double() * scale[:, None, None, None]).float()
    return kernel.contiguous(memory_format=torch.channels_last), bias.float()


# TorchScript: a zip of data.pkl (a tree of objects), data/KEY (raw storages) and code, which we do not look at

_STORAGES = {"FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16}
_STORAGES |= {"LongStorage": torch.int64, "IntStorage": torch.int32, "BoolStorage": torch.bool}
_LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")


class _Record:
    """Placeholder for an object of any class in the file, with its attributes but without code."""


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> Tensor:
    return torch.as_strided(storage, size, stride, offset).clone()  # as_strided checks the bounds


def _same(value: Any, *rest: Any) -> Any:
    return value


class _ScriptUnpickler(pickle.Unpickler):
    """Unpickler of tensors, plain lists and records; refuses everything else."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(archive.open(f"{root}/data.pkl"))
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Record
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch.jit._pickle" and name in (*_LISTS, "restore_type_tag"):
            return _same
        raise pickle.UnpicklingError(f"refused to call {module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, count = pid
        data = bytearray(self.archive.read(f"{self.root}/data/{key}"))  # zipfile checks the CRC
        return torch.frombuffer(data, dtype=dtype, count=count)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.count("/") == 1 and name.endswith("/constants.pkl") for name in archive.namelist())


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    with zipfile.ZipFile(path) as archive:
        root = next(name for name in archive.namelist() if name.endswith("/data.pkl")).split("/")[0]
        top = _ScriptUnpickler(archive, root).load()
    tensors: dict[str, Tensor] = {}

    def walk(record: _Record, prefix: str) -> None:
        for name, value in vars(record).items():
            if isinstance(value, Tensor):
                tensors[prefix + name] = value
            elif isinstance(value, _Record):
                walk(value, f"{prefix}{name}.")

    walk(top, "")
    return tensors
