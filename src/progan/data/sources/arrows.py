"""Tables of Arrow, from parquet files and others: their images, labels, and further attributes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from progan.data.columns import Column
from progan.data.pixels import peek
from progan.data.printing import printable
from progan.data.records import Payload, Source, joined
from progan.data.sources.arrow_images import Place, features, image_place, is_list, is_text, places_in, same_place
from progan.data.sources.columns import column, is_text_of_its_own
from progan.data.sources.fields import LABELS
from progan.data.sources.own_labels import distinct, with_labels
from progan.data.sources.rows import Rows
from progan.data.sources.stacks import common_scale
from progan.errors import DataError

_TRIED = 8  # images looked at before a table is refused


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """A file that contains a table, or a part of one."""

    file: Path
    schema: Any
    """Arrow schema, with or without the metadata of the Hugging Face Hub."""
    count: int
    """Number of rows."""
    column: Callable[[str], Any]
    """Reads a column by its name."""
    images: Callable[[Place], Sequence[Source]]
    """Returns the images at a place, in the order of the rows."""


def table_source(description: str, tables: Sequence[TableFile], asked: str) -> Source:
    """Return the images of a table, with its labels and further columns.

    Labels are the column that the Hub's metadata calls a ClassLabel, or the one with a usual name. The other columns
    of numbers, text and lists of numbers are attributes of the images.

    Args:
        description: kind and name of the source.
        tables: its files.
        asked: column of the images that the user chose; '' chooses one by its name.

    Raises:
        DataError: if there are no images, a file is broken, or the labels cannot be understood.
    """
    place, notes = image_place(tables[0].file, tables[0].schema, asked)
    places = [same_place(table.file, table.schema, place) for table in tables]
    parts = [part for table, at in zip(tables, places, strict=True) for part in table.images(at)]
    whole = joined(description, parts)
    if place.kind == "pixels":
        whole = _scaled(whole, np.dtype(place.dtype))
    _check(tables[0].file, whole, place)
    name = _label_name(tables, place)
    columns, left = _other_columns(tables, len(whole), (place.path[0], name))
    notes = (*notes, *whole.notes)
    if left:
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        notes = (*notes, f"columns that do not describe the images are left out: {', '.join(left[:5])}{more}")
    if is_list(tables[0].schema.field(tables[0].schema.get_field_index(place.path[0])).type) and place.kind != "pixels":
        notes = (*notes, f"lists of images in column {printable(place.name)!r}: the first of each is used")
    whole = replace(whole, columns=columns, notes=notes, heeds=frozenset({"column"}))
    return whole if name is None else _with_labels(whole, tables, name)


def _scaled(source: Source, dtype: np.dtype) -> Source:
    """Scale pixels in lists, which are numbers of any type, to 0 ... 255."""
    rows = Rows(shape=(len(source),), dtype=dtype, read=source.read)  # type: ignore[arg-type]
    scale = common_scale([(source.description, rows)])

    def read(positions: Sequence[int]) -> Iterator[Payload]:
        for data in source.read(positions):
            yield scale.to_uint8(data) if isinstance(data, np.ndarray) else data

    return replace(source, read=read, notes=(scale.note,) if scale.note else ())


def _check(file: Path, source: Source, place: Place) -> None:
    """Reject a column of something else before all rows are tried."""
    found = ""
    for record in source.records(range(min(len(source), _TRIED))):
        if isinstance(record.data, DataError) and place.kind == "bytes":
            continue
        try:
            peek(record.data)
            return
        except DataError as error:
            found = found or f"{record.name}: {error}"
    if found:
        raise DataError(
            f"{file}: no images in the column {printable(place.name)!r} of type {place.type}\n"
            f"  found: {found}\n"
            f"  fix:   choose another column with --column, or save encoded images (PNG, JPEG)"
        )


def _fields(tables: Sequence[TableFile]) -> dict[str, Any]:
    """Return the Arrow fields of all files by name, those of the first file that has them."""
    return {field.name: field for table in reversed(tables) for field in table.schema}


def _names(table: TableFile, name: str) -> tuple[str, ...]:
    """Return the names of classes that the Hub's metadata declares for a column of numbers or of lists of numbers."""
    feature = features(table.schema).get(name, {})
    inner = feature.get("feature")
    names = (inner if isinstance(inner, dict) else feature).get("names")
    return distinct([str(one) for one in names]) if isinstance(names, list) else ()


def _label_name(tables: Sequence[TableFile], place: Place) -> str | None:
    usable = [name for name, field in _fields(tables).items() if _kind(field.type) and name != place.path[0]]
    known = [name for name in usable if any(_names(table, name) for table in tables)]
    usual = {name.lower(): name for name in reversed(known or usable)}
    return next((usual[name] for name in LABELS if name in usual), known[0] if known else None)


def _with_labels(source: Source, tables: Sequence[TableFile], name: str) -> Source:
    declared = next((names for table in tables if (names := _names(table, name))), ())
    parts = [_label_cells(table, name) for table in tables]
    if all(isinstance(part, np.ndarray) for part in parts):
        return with_labels(source, lambda: np.concatenate(parts), name=name, declared=declared)
    cells = [cell for part in parts for cell in (part.tolist() if isinstance(part, np.ndarray) else part)]
    if declared and any(isinstance(cell, list) for cell in cells):
        cells = [[_named(one, declared) for one in cell] if isinstance(cell, list) else cell for cell in cells]
    texts = {cell for cell in cells if isinstance(cell, str)}
    if is_text_of_its_own(len(texts), len(cells)):
        told = f"the texts in column {printable(name)!r} are not classes, because nearly all of them differ"
        return replace(source, notes=(*source.notes, told))
    return with_labels(source, lambda: cells, name=name, declared=declared)


def _named(number: Any, names: Sequence[str]) -> Any:
    return names[number] if isinstance(number, int) and 0 <= number < len(names) else number


def _label_cells(table: TableFile, name: str) -> list[Any] | np.ndarray:
    """Read the labels of a file: an array if all are numbers; None where they are missing."""
    if name not in table.schema.names:
        return [None] * table.count
    chunks = [_plain(chunk) for chunk in _read(table, name).chunks]
    if all(_kind(chunk.type) == "number" and not chunk.null_count for chunk in chunks):
        return np.concatenate([_array(chunk) for chunk in chunks]) if chunks else np.empty(0, np.int64)
    same: dict[Any, Any] = {}
    cells = [cell for chunk in chunks for cell in chunk.to_pylist()]
    return [same.setdefault(cell, cell) if isinstance(cell, str) else cell for cell in cells]


def _plain(chunk: Any) -> Any:
    import pyarrow.types as types

    return chunk.cast("float64") if types.is_decimal(chunk.type) else chunk


def _read(table: TableFile, name: str) -> Any:
    try:
        return table.column(name)
    except (ValueError, KeyError, OSError) as error:  # pyarrow's errors are among these
        what = f"{table.file}: column {printable(name)!r} cannot be read ({first_line(error)})"
        raise DataError(f"{what}\n  fix:   download it again") from error


def _other_columns(
    tables: Sequence[TableFile], count: int, but: Sequence[str | None]
) -> tuple[tuple[Column, ...], list[str]]:
    """Read the further columns of numbers, text and lists of numbers; return these, and what is left out."""
    found, left = [], []
    for field in tables[0].schema:
        if field.name in but or not field.name:
            continue
        one = column(field.name, cells) if (cells := _cells(tables, field, count)) is not None else None
        names = _names(tables[0], field.name)
        if one and names and one.values.ndim == 1 and one.values.dtype == np.int64:
            one = Column(one.name, one.values, names) if _are_classes(one.values, len(names)) else one
        found += [one] if one else []
        images = any(place.kind == "bytes" for place in places_in(field))
        left += [] if one or images else [printable(f"{field.name} {field.type}", 60)]
    return tuple(found), left


def _are_classes(values: np.ndarray, count: int) -> bool:
    return bool(values.min() >= 0 and values.max() < count)


def _cells(tables: Sequence[TableFile], field: Any, count: int) -> Sequence[Any] | np.ndarray | None:
    """Read a column of all files; None if its type is not supported or differs between files."""
    chunks = _chunks(tables, field)
    if (kind := _kind(field.type)) == "text":
        return _texts(chunks, count)
    if kind == "list":
        return _lists(chunks)
    arrays = [None if chunk is None else _array(chunk) for chunk in chunks] if kind == "number" else []
    known = [array for array in arrays if array is not None]
    return np.concatenate(known) if known and len(known) == len(arrays) else None


def _kind(of: Any) -> str:
    """Return 'number', 'text', 'list' (of numbers), 'texts' (lists of text), or '' for an unsupported type."""
    import pyarrow.types as types

    if types.is_boolean(of) or types.is_integer(of) or types.is_floating(of) or types.is_decimal(of):
        return "number"
    if is_text(of.value_type if types.is_dictionary(of) else of):
        return "text"
    inner = _kind(of.value_type) if is_list(of) else ""
    return {"number": "list", "text": "texts"}.get(inner, "")


def _chunks(tables: Sequence[TableFile], field: Any) -> Iterator[Any]:
    """Yield the arrays of a column, file by file; None for a file in which it is missing or has a different type."""
    for table in tables:
        data = _read(table, field.name) if field.name in table.schema.names else None
        yield from data.chunks if data is not None and _kind(data.type) == _kind(field.type) else (None,)


def _array(chunk: Any) -> np.ndarray:
    """Return the numbers of an array, NaN where they are missing."""
    return (_plain(chunk).cast("float64") if chunk.null_count else _plain(chunk)).to_numpy(zero_copy_only=False)


def _texts(chunks: Iterator[Any], count: int) -> list[str | None] | None:
    """Return all texts, or None if there are too many different ones to be classes."""
    seen: dict[str | None, str | None] = {}
    texts: list[str | None] = []
    for chunk in chunks:
        if chunk is None:
            return None
        texts += [seen.setdefault(text, text) for text in chunk.to_pylist()]
        if is_text_of_its_own(len(seen), count):
            return None
    return texts


def _lists(chunks: Iterator[Any]) -> np.ndarray | None:
    """Return lists of numbers as an array [N, K], or None if their lengths differ."""
    import pyarrow.compute

    arrays, known, lengths = [], [], set()
    for chunk in chunks:
        if chunk is None:
            return None
        present = chunk.drop_null()
        lengths |= set(pyarrow.compute.call_function("list_value_length", [present]).unique().to_pylist())
        if len(lengths) > 1:
            return None
        arrays.append(_array(present.flatten()))
        known.append(chunk.is_valid().to_numpy(zero_copy_only=False))
    if not lengths or 0 in lengths:
        return None
    values, rows = np.concatenate(arrays).reshape(-1, *lengths), np.concatenate(known)
    if rows.all():
        return values
    whole = np.full((len(rows), *lengths), np.nan)
    whole[rows] = values
    return whole


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an exception."""
    return str(error).partition("\n")[0]
