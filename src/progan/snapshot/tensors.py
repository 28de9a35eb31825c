"""Tensors in one safetensors file with a header of plain values; loading never executes code."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from progan.errors import CheckpointError
from progan.files import replacing
from progan.snapshot.outline import without_values

_KINDS = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"}  # what is copied into a network
Network = TypeVar("Network", bound=nn.Module)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: dict[str, Any]) -> None:
    """Write one .safetensors file with a header, whole or not at all.

    Raises:
        CheckpointError: if the file cannot be written.
    """
    data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, {"progan": json.dumps(header)})
    try:
        with replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot write the snapshot ({error.strerror or error}); everything written before is kept. "
            f"Fix this and run the same command again"
        ) from error


def read_header(path: Path, form: str) -> tuple[dict[str, Any], list[str]]:
    """Return the header of a file of ``write_tensors`` and the names of its tensors, none of which is read.

    Raises:
        CheckpointError: if the file is damaged, or of a different format or program.
    """
    header = None
    with _opened(path) as file:
        names = list(file.keys())
        with suppress(ValueError, RecursionError):  # not JSON, or nested without end
            header = json.loads((file.metadata() or {}).get("progan", "null"))
    there = header.get("format") if isinstance(header, dict) else None
    if not isinstance(header, dict) or there != form:
        found = f"is of format {there!r:.40}" if there else "was not written by progan"
        raise CheckpointError(f"{path}: {found}; expected format {form!r}")
    return header, names


def read_into(network: Network, path: Path, *, device: torch.device | str) -> Network:
    """Give a network made in ``outlined`` the tensors of a file, move it to ``device`` and freeze it.

    Names and shapes are compared first, so that a file takes no more memory than its own size. Numbers of a different
    type are converted to the network's.

    Raises:
        CheckpointError: if the file is damaged, or is of a different network.
        TypeError: if the network has tensors that are not in its state dict; these would have no values.
    """
    wanted = network.state_dict()
    with _opened(path) as file:
        if reason := _difference(wanted, {name: file.get_slice(name) for name in file.keys()}):  # noqa: SIM118
            raise CheckpointError(f"{path}: its weights do not fit its settings ({reason})")
        tensors = {name: file.get_tensor(name).to(wanted[name].dtype, copy=True) for name in wanted}  # not mapped
    network.load_state_dict(tensors, assign=True)
    if lost := without_values(network):
        raise TypeError(f"{lost} is not in the state dict; make it a persistent buffer, or compute it in forward")
    return network.to(device, memory_format=torch.channels_last).requires_grad_(False).eval()  # type: ignore[call-overload]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is not a whole safetensors file ({error})") from error


def _difference(wanted: Mapping[str, Tensor], found: Mapping[str, Any]) -> str:
    """How the tensors of a file differ from those of a network; empty if they do not."""
    for name in (*wanted, *found):
        if name not in found:
            return f"{name} is missing"
        if name not in wanted:
            return f"{name} is unknown"
        if found[name].get_dtype() not in _KINDS:
            return f"{name} has numbers of the type {found[name].get_dtype()}"
        if found[name].get_shape() != list(wanted[name].shape):
            return f"{name} has the shape {found[name].get_shape()} instead of {list(wanted[name].shape)}"
    return ""
