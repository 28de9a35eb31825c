"""Tensors in one safetensors file, with a header of plain values; nothing that is loaded runs code."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from progan.errors import CheckpointError
from progan.files import replacing


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: dict[str, Any]) -> None:
    """Write one .safetensors file with a header, whole or not at all.

    Raises:
        CheckpointError: if the disk does not take it.
    """
    data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, {"progan": json.dumps(header)})
    try:
        with replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot write the snapshot ({error.strerror or error}); what was made before is kept, "
            f"mend that and run the same command again"
        ) from error


def read_tensors(path: Path, form: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file of ``write_tensors``.

    Raises:
        CheckpointError: if it is damaged, or of another format or program.
    """
    header, tensors = None, {}
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get("progan", "null"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a dict
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is not a whole safetensors file ({error})") from error
    except ValueError:  # not JSON
        pass
    if not isinstance(header, dict) or header.get("format") != form:
        raise CheckpointError(f"{path}: was not written by progan ({form} wanted in its header)")
    return header, tensors
