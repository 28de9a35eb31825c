"""What the header of a file of networks says, checked before anything is built from it."""

import math
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from progan.errors import CheckpointError, ConfigError
from progan.gans.base import GANConfig, ImageSpec
from progan.snapshot.registry import GANS

_LARGEST = 2**31 - 1  # whole number; none of ours is near it, and products of two still fit 64 bits
_SIDE = 2**16  # largest side of images [pixels], which bounds the number of levels
_KIMG = 10**9


@dataclass(frozen=True, kw_only=True)
class Header:
    """The checked header of a snapshot or of the networks next to it; the fields are those of ``Snapshot``."""

    gan: str
    config: GANConfig
    spec: ImageSpec
    level: int
    alpha: float
    kimg: float
    classes: tuple[str, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any], path: Path) -> Self:
        """Return the header of the file ``path`` from the JSON values in it.

        Raises:
            CheckpointError: if a value is missing, or cannot be one of this version.
        """
        with fitting(path):
            gan, classes = values.get("gan"), values.get("classes")
            if not isinstance(gan, str) or gan not in GANS:
                raise ConfigError(f"gan must be one of {', '.join(GANS)}, got {reprlib.repr(gan)}")
            spec = _spec(values.get("spec"))
            if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
                raise ConfigError(f"classes must be a list of names, got {reprlib.repr(classes)}")
            if len(classes) not in (0, spec.classes):
                raise ConfigError(f"classes must be {spec.classes} names or none, got {len(classes)}")
            config = _config(GANS[gan], values.get("config"))
            if config.takes_labels and not spec.classes and not spec.attributes:
                raise ConfigError("a conditional network needs classes or attributes in spec, got none")
            return cls(
                gan=gan,
                config=config,
                spec=spec,
                level=_number(values, "level", 0, spec.levels - 1),
                alpha=_number(values, "alpha", 0, 1, kind=float),
                kimg=_number(values, "kimg", 0, _KIMG, kind=float),
                classes=tuple(classes),
            )


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Turn whatever a header of wrong values leads to into a CheckpointError of one line."""
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError, ConfigError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path}: its header does not fit this version of progan ({reason})") from error


def _config(kind: type[GANConfig], values: Any) -> GANConfig:
    """The settings of a network, each of the type of its field."""
    if not isinstance(values, dict):
        raise ConfigError(f"config must be an object of settings, got {reprlib.repr(values)}")
    hints, known = get_type_hints(kind), {field.name for field in fields(kind)}  # type: ignore[arg-type]
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"unknown setting {reprlib.repr(name)}")
        if not _fits(value, hints[name]):
            raise ConfigError(f"config.{name} cannot be {reprlib.repr(value)}")
    return kind(**values)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a JSON value can be the value of a field of this type; of types that JSON lacks, anything can."""
    if get_origin(kind) in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind in (bool, str, NoneType):
        return isinstance(value, kind)
    if kind is float and isinstance(value, float):
        return math.isfinite(value)
    if kind in (int, float):
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST
    return True


def _number(values: Mapping[str, Any], name: str, least: int, most: int, *, kind: type = int) -> Any:
    value = values.get(name)
    if not _fits(value, kind) or not least <= value <= most:  # type: ignore[operator]  # a number by then
        raise ConfigError(f"{name} must be {least} ... {most}, got {reprlib.repr(value)}")
    return value


def _spec(values: Any) -> ImageSpec:
    """The spec of these values, and those of further sources in it."""
    if not isinstance(values, dict):
        raise ConfigError(f"spec must be an object, got {reprlib.repr(values)}")
    others = values.get("others", [])
    if not isinstance(others, list):
        raise ConfigError(f"spec.others must be a list, got {reprlib.repr(others)}")
    for name in ("channels", "height", "width"):
        _number(values, name, 1, _SIDE)
    for name in ("classes", "attributes"):
        _number({name: 0} | values, name, 0, _LARGEST)
    for other in others:
        _spec(other)
    return ImageSpec.of(values)
