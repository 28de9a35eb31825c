"""Images inside the columns of Arrow tables: where they are, and how the value of a cell becomes one."""

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from progan.data.printing import printable
from progan.data.records import Payload
from progan.data.sources.fields import main_rank, pick_column
from progan.data.sources.stacks import is_stack, upright
from progan.errors import DataError

_DEEPEST = 8  # structs and lists inside each other
_DATA_URL = re.compile(r"data:[\w/+.;=-]*;base64,")
_NOTHING = "no image bytes in this row; paths to other files are not followed"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a table contains images."""

    path: tuple[str, ...]
    """Name of the column, and those of the fields inside it."""
    kind: Literal["bytes", "text", "pixels"]
    """Encoded images, encoded images as text in base64, or lists [H, W], [H, W, C] or [C, H, W] of numbers."""
    type: str
    """Arrow type, for messages."""
    leaf: str
    """Name of what must be read from a parquet file."""
    dtype: str = "u1"
    """NumPy type of pixels in lists."""

    @property
    def name(self) -> str:
        return ".".join(self.path)


def features(schema: Any) -> dict[str, dict]:
    """Return the hub's metadata about the columns; empty if there is none or it is not valid."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: kind for name, kind in found.items() if isinstance(kind, dict)}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def check_names(fields: Any) -> None:
    """Check that the names of all columns, and of the fields inside them, are text.

    Raises:
        ValueError: if one is not, as in a damaged file.
    """
    for field in fields:
        if not isinstance(field.name, str):  # pyarrow decodes it here
            raise ValueError("a name that is not text")
        check_names(field.type.field(i) for i in range(field.type.num_fields))


def image_place(file: Path, schema: Any, asked: str) -> tuple[Place, tuple[str, ...]]:
    """Return where the images are in a table, and a note if there are others.

    Encoded images in binary columns go before text in base64 and lists of pixels, which are used only in columns with
    names such as 'image', or that the user chose.

    Args:
        file: file name for messages.
        schema: Arrow schema, with or without the metadata of the Hugging Face Hub.
        asked: column that the user chose, or a field inside a struct as COLUMN.FIELD; '' chooses one by its name.

    Raises:
        DataError: if there is no column of images.
    """
    every = {place.name: place for field in schema for place in places_in(field)}
    encoded = [name for name, place in every.items() if place.kind == "bytes"]
    usual = [name for name, place in every.items() if place.kind != "bytes" and main_rank(name) < 2]
    if asked and asked in schema.names:
        asked = next((name for name, place in every.items() if place.path[0] == asked), asked)
        if asked not in every:
            raise _no_images(file, [schema.field(schema.get_field_index(asked))])
    if not (encoded or usual or asked):
        raise _no_images(file, schema)
    known = features(schema)
    marked = {name for name in encoded if _is_image(known.get(every[name].path[0], {}))}
    names = [*encoded, asked] if asked in every and asked not in encoded else encoded or usual
    chosen, notes = pick_column(names, where=str(file), asked=asked, marked=marked)
    return every[chosen], notes


def same_place(file: Path, schema: Any, place: Place) -> Place:
    """Return where the images of another file are that belongs to the same table.

    Raises:
        DataError: if it lacks the column.
    """
    for field in schema:
        for other in places_in(field):
            if other.path == place.path and other.kind == place.kind:
                return other
    raise DataError(
        f"{file}: no images in the column {printable(place.name)!r}, in which other files have them\n"
        f"  found: {_listed(schema)}\n"
        f"  fix:   pass the files with the same columns on their own"
    )


def _is_image(feature: Mapping[str, Any]) -> bool:
    inner = feature.get("feature")
    return feature.get("_type") == "Image" or (isinstance(inner, dict) and inner.get("_type") == "Image")


def _no_images(file: Path, fields: Any) -> DataError:
    return DataError(
        f"{file}: no column of encoded images\n"
        f"  found: {_listed(fields)}\n"
        f"  fix:   use a file with a column of type struct<bytes, path> or binary, of text in base64, or of lists "
        f"[H, W] or [H, W, C] of numbers; --column NAME names it"
    )


def _listed(fields: Any) -> str:
    return printable(", ".join(f"{field.name} {field.type}" for field in fields)[:300], 300)


def places_in(field: Any) -> list[Place]:
    """Return the places of images in a column, of which text and pixels are only possible ones."""
    return list(_places(field.type, (field.name,)))


def _places(of: Any, path: tuple[str, ...], *, listed: bool = False) -> Iterator[Place]:
    """Yield the places of images in a column or field of an Arrow type."""
    import pyarrow.types as types

    of = getattr(of, "storage_type", of)
    of = of.value_type if types.is_dictionary(of) else of
    name, facts = path[0] if listed else ".".join(path), {"path": path, "type": str(of)}
    if is_binary(of):
        yield Place(kind="bytes", leaf=name, **facts)
    elif is_text(of):
        yield Place(kind="text", leaf=name, **facts)
    elif types.is_struct(of):
        if any(part.name == "bytes" and is_binary(part.type) for part in of):
            yield Place(kind="bytes", leaf=name if listed else f"{name}.bytes", **facts)
        elif len(path) < _DEEPEST:
            for part in of:
                yield from _places(part.type, (*path, part.name), listed=listed)
    elif is_list(of):
        inner, depth = of, 0
        while is_list(inner):
            inner, depth = inner.value_type, depth + 1
        if depth in (2, 3) and (types.is_integer(inner) or types.is_floating(inner)):
            yield Place(kind="pixels", leaf=path[0], dtype=np.dtype(inner.to_pandas_dtype()).str, **facts)
        elif depth == 1 and not is_text(inner):
            yield from _places(inner, path, listed=True)


def is_binary(of: Any) -> bool:
    """Return whether an Arrow type is bytes of any length."""
    import pyarrow.types as types

    return types.is_binary(of) or types.is_large_binary(of) or types.is_binary_view(of)


def is_text(of: Any) -> bool:
    """Return whether an Arrow type is text."""
    import pyarrow.types as types

    return types.is_string(of) or types.is_large_string(of) or types.is_string_view(of)


def is_list(of: Any) -> bool:
    """Return whether an Arrow type is lists."""
    import pyarrow.types as types

    return types.is_list(of) or types.is_large_list(of) or types.is_fixed_size_list(of)


def image_of(value: Any, place: Place, roots: Sequence[Path] = ()) -> Payload:
    """Return the image in the value of a cell of the column; of lists of images the first.

    Args:
        value: what the column contains, as Python objects.
        place: where the image is in it.
        roots: folders that may contain images as separate files; paths to other places are not followed.
    """
    for name in place.path[1:]:
        value = _first(value)
        value = value.get(name) if isinstance(value, dict) else None
    if place.kind == "pixels":
        return _pixels(value, np.dtype(place.dtype))
    value = _first(value)
    if place.kind == "text":
        return _decoded(value)
    if isinstance(value, dict):
        path = Path(value.get("path") or "")
        if not value.get("bytes") and path.name and any(path.resolve().is_relative_to(root) for root in roots):
            return path
        value = value.get("bytes")
    return value if isinstance(value, bytes) and value else DataError(_NOTHING)


def _first(value: Any) -> Any:
    while isinstance(value, list):
        value = value[0] if value else None
    return value


def _decoded(text: object) -> Payload:
    if not isinstance(text, str) or not text:
        return DataError("no image in this row")
    try:
        start = _DATA_URL.match(text)
        return base64.b64decode("".join(text[start.end() if start else 0 :].split()), validate=True)
    except ValueError:
        return DataError(f"the text {printable(text, 40)!r} is not base64; URLs and paths are not followed")


def _pixels(value: object, dtype: np.dtype) -> Payload:
    try:
        pixels = np.array(value, dtype)
    except (ValueError, TypeError, OverflowError):
        pixels = np.empty(0, dtype)
    if not is_stack((1, *pixels.shape), dtype):
        return DataError("lists of numbers that are not an image [H, W], [H, W, C] or [C, H, W]")
    return upright(pixels)
