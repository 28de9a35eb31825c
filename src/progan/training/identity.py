"""config.json: what identifies the run in a directory, so that it is not resumed with different settings or data."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from progan.data.store import Store
from progan.errors import CheckpointError, ConfigError
from progan.files import replacing
from progan.gans.base import ImageSpec
from progan.snapshot.registry import name_of
from progan.training.blowups import History
from progan.training.config import RunConfig, changes, completed
from progan.version import __version__

NAME = "config.json"


def describe(config: RunConfig, spec: ImageSpec, stores: Sequence[Store], about: dict[str, Any]) -> dict[str, Any]:
    """Contents of the file as plain values, including the further facts ``about`` the run."""
    first, *others = [
        {"hash": store.hash, "count": store.count} | ({"columns": store.columns_hash} if config.label_columns else {})
        for store in stores
    ]
    data = {**first, "spec": spec.to_dict(), **({"others": others} if others else {})}
    made_by = {"kind": name_of(config.gan), "version": __version__, "torch": torch.__version__}
    return json.loads(json.dumps({**made_by, "config": config.to_dict(), "data": data, **about}))


def write(path: Path, facts: dict[str, Any]) -> None:
    """Write the file into a run directory."""
    with replacing(path / NAME) as file:
        file.write(f"{json.dumps(facts, indent=2)}\n".encode())


def read(path: Path) -> dict[str, Any]:
    """Read the file in a run directory.

    Raises:
        CheckpointError: if it is missing or damaged.
    """
    file = path / NAME
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        ImageSpec.of(facts["data"]["spec"])
        if not all(isinstance(facts["config"][part], dict) for part in ("gan", "schedule")):
            raise ValueError("its settings have no gan or no schedule")
        float(facts["config"]["schedule"]["total_kimg"])
        _images(facts["data"])
        History.of(facts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{file}: is missing or damaged ({error}), so that the run cannot be identified; "
            "choose another folder (--name or --out)"
        ) from error
    return facts


def check_same(path: Path, new: dict[str, Any], config: RunConfig, *, needed: bool) -> dict[str, Any]:
    """Refuse to resume in the directory of a run with different settings or different data.

    Args:
        needed: whether there must be a run.

    Returns:
        What the file in the directory says; nothing if there is no run.

    Raises:
        ConfigError: if it is another run.
        CheckpointError: if the file is missing or damaged.
    """
    if not needed and not (path / NAME).exists():
        return {}
    old = read(path)
    if changes(old["data"], new["data"]):
        had, has = _images(old["data"]), _images(new["data"])
        raise ConfigError(
            f"{path} holds a run on different data: it had {had}, now there are "
            f"{has if has != had else 'as many, but different ones'}; choose another folder (--name or --out)"
        )
    if old.get("kind", new["kind"]) != new["kind"]:  # version 0.1.0 did not write it
        raise ConfigError(
            f"{path} holds a run of another GAN: it was {old['kind']}, now it is {new['kind']}; "
            "choose another folder (--name or --out)"
        )
    if other := changes(completed(old["config"], config), new["config"]):
        more = f" and {len(other) - 4} more" if len(other) > 4 else ""
        raise ConfigError(
            f"{path} holds a run with different settings: {'; '.join(other[:4])}{more}; "
            "choose another folder (--name or --out)"
        )
    return old


def _images(data: dict[str, Any]) -> str:
    spec = data["spec"]
    classes = f" in {spec['classes']} classes" if spec["classes"] else ""
    return f"{data['count']} images of {spec['height']}x{spec['width']}x{spec['channels']}{classes}"
