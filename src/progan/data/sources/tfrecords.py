"""Images in TFRecord files, read without TensorFlow.

The official multi-resolution data sets have the features ``shape`` (int64: C, H, W) and ``data`` (that many uint8).
Other programs store encoded images, or pixels with their height and width.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from progan.data.decoding import peek
from progan.data.printing import printable
from progan.data.records import Choice, Payload, Source, joined, numbered
from progan.data.sources.columns import is_text_of_its_own
from progan.data.sources.examples import features_of, values_of
from progan.data.sources.fields import LABELS, pick_column, pick_split
from progan.data.sources.npy import NPY_BROKEN, load_npy
from progan.data.sources.own_labels import with_labels
from progan.data.sources.record_files import RecordFile, is_record_file, record_file
from progan.data.sources.splits import split_of
from progan.errors import DataError

_LEVEL_NAME = re.compile(r"(?P<stem>.*)-r(?P<level>\d\d)\.tfrecords")
_ENDING = re.compile(r".*\.(tfrecords?|tfrec)(-\d+-of-\d+)?(\.gz)?", re.IGNORECASE)
_SHARD = re.compile(r".*-\d{3,}-of-(\d{3,})\b.*")
_TRIED = 8  # records looked at before a file is refused


def tfrecord_files(path: Path) -> list[Path]:
    """Return the TFRecord files directly in a folder or in folders named like splits, or the file itself if it is one.

    Files are known by the extensions .tfrecords, .tfrecord and .tfrec, or by their content if they are named like
    train-00000-of-00001.
    """
    if path.is_dir():
        found = _inside(path)
        if not found:
            found = [file for folder in path.iterdir() if split_of(folder.name) for file in _inside(folder)]
        return sorted(found)
    return [path] if path.is_file() and (_ENDING.fullmatch(path.name) or is_record_file(path)) else []


def _inside(folder: Path) -> list[Path]:
    files = [file for file in folder.iterdir() if not file.name.startswith(".")] if folder.is_dir() else []
    named = [file for file in files if _ENDING.fullmatch(file.name) or _SHARD.fullmatch(file.name)]
    return [file for file in named if file.is_file() and (_ENDING.fullmatch(file.name) or is_record_file(file))]


def tfrecord_source(path: Path, files: Sequence[Path], choice: Choice) -> Source:
    """Return the images of the largest resolution of a multi-resolution data set, of a split's shards, or of one file.

    The checksums of all lengths are verified first, and that of each image when it is read. Labels come from
    NAME-rxx.labels next to a file of a multi-resolution data set, else from the feature with a usual name.

    Args:
        path: path that the user passed, for messages.
        files: all files of the folder, or one file of any name.
        choice: split to use, and the feature of the images (``column``).

    Raises:
        DataError: if a file is broken or contains no images, or it is unclear which one to use.
    """
    chosen, notes, heeds = _chosen(path, files, choice.split)
    shards = [record_file(file) for file in chosen]
    layout, more = _layout(shards, choice.column)
    parts = [numbered(s.path.name, len(s), functools.partial(_read, s, layout)) for s in shards]
    whole = replace(
        joined(f"TFRecords {(chosen[0] if len(chosen) == 1 else path.resolve()).name}", parts),
        notes=(*notes, *more, *_missing(chosen)),
        heeds=heeds | {"column"},
    )
    if len(chosen) == 1 and (beside := _labels_file(chosen[0])).is_file():
        return with_labels(whole, lambda: _labels_beside(beside, len(whole)), name="labels")
    return _with_labels(whole, shards, layout)


def _chosen(path: Path, files: Sequence[Path], split: str) -> tuple[list[Path], tuple[str, ...], frozenset[str]]:
    """Return the file of the largest resolution, or the shards of a split."""
    if not path.is_dir():
        return list(files), (), frozenset()
    matches = [_LEVEL_NAME.fullmatch(file.name) for file in files]
    if all(matches) and len({match["stem"] for match in matches if match}) == 1:
        return [max(files, key=lambda file: file.name)], (), frozenset()
    if any(matches) and len(files) > 1:
        raise DataError(
            f"{path}: several TFRecords that are not one multi-resolution data set\n"
            f"  found: {', '.join(file.name for file in files[:8])}; expected NAME-r02.tfrecords ... with one NAME\n"
            f"  fix:   pass one of these files"
        )
    return pick_split({file.relative_to(path).as_posix(): [file] for file in files}, split, where=str(path))


def _missing(files: Sequence[Path]) -> tuple[str, ...]:
    """Return a note if there are fewer shards than their names say."""
    numbers = [int(match[1]) for file in files if (match := _SHARD.fullmatch(file.name))]
    told = f"{len(numbers)} of the {sum(set(numbers))} files that their names tell of; the others are missing"
    return (told,) if len(files) > 1 and 0 < len(numbers) < sum(set(numbers)) else ()


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """What the records of a data set contain."""

    kind: Literal["encoded", "planar", "pixels"]
    """Encoded images, uint8 [C, H, W] with a feature ``shape``, or uint8 [H, W, C] with features for its size."""
    image: str
    """Feature of the images."""
    names: tuple[str, ...]
    """All features."""
    height: str = ""
    width: str = ""


def _layout(shards: Sequence[RecordFile], asked: str) -> tuple[_Layout, tuple[str, ...]]:
    """Find the features of the images from the first records."""
    file, why, found = shards[0].path, "", {}
    for data in shards[0].read(range(min(len(shards[0]), _TRIED))):
        try:
            features = _parsed(data)
        except DataError as error:
            why = why or str(error)
            continue
        if {"shape", "data"} <= set(features) and asked in ("", "data"):
            return _Layout(kind="planar", image="data", names=tuple(features)), ()
        layouts = {name: one for name in features if (one := _layout_of(name, features))}
        if layouts:
            chosen, notes = pick_column(list(layouts), where=str(file), asked=asked, kind="feature")
            return layouts[chosen], notes
        found = found or features
    listed = ", ".join(f"{printable(name)} {_about(values_of(feature))}" for name, feature in [*found.items()][:12])
    raise DataError(
        f"{file}: no images in its records\n"
        f"  found: {f'the features {listed}' if found else why or 'records without features'}\n"
        f"  fix:   use records with an encoded image (PNG, JPEG) in one feature, or pixels with height and width"
    )


def _about(values: Sequence[Any]) -> str:
    kind = {memoryview: "bytes", float: "float"}.get(type(values[0]), "int64") if values else "empty"
    size = len(values[0]) if isinstance(values[0], memoryview) and len(values) == 1 else len(values)
    return f"({kind}, {size})" if kind == "bytes" or size > 1 else f"({kind})"


def _parsed(data: memoryview | DataError) -> dict[str, memoryview]:
    if isinstance(data, DataError):
        raise data
    try:
        return features_of(data)
    except ValueError as error:
        raise DataError(f"the record is not a tf.train.Example ({error})") from None


def _layout_of(name: str, features: Mapping[str, memoryview]) -> _Layout | None:
    """Return the layout of a feature if it contains an image."""
    try:
        values = values_of(features[name])
    except ValueError:
        return None
    if not values or not isinstance(values[0], memoryview) or not len(values[0]):
        return None
    facts = {"image": name, "names": tuple(features)}
    try:
        peek(bytes(values[0]))
        return _Layout(kind="encoded", **facts)
    except DataError:
        pass
    height, width = (next((key for key in features if _last(key) == side), "") for side in ("height", "width"))
    layout = _Layout(kind="pixels", height=height, width=width, **facts)
    return layout if height and width and isinstance(_pixels(features, layout), np.ndarray) else None


def _last(name: str) -> str:
    return re.split(r"[/._-]", name.lower())[-1]


def _read(shard: RecordFile, layout: _Layout, positions: Sequence[int]) -> Iterator[Payload]:
    for data in shard.read(positions):
        yield _image(data, layout)


def _image(data: memoryview | DataError, layout: _Layout) -> Payload:
    """Return the image of a record, or the reason why it cannot be used."""
    try:
        features = _parsed(data)
        if layout.kind == "planar":
            return _planar(features)
        if layout.image not in features:
            return DataError(f"no feature {layout.image!r}; found {', '.join(features) or 'no features'}")
        if layout.kind == "pixels":
            return _pixels(features, layout)
        (value, *_) = values_of(features[layout.image]) or (b"",)
        return bytes(value) if isinstance(value, memoryview) and len(value) else DataError("an empty feature")
    except DataError as error:
        return error
    except ValueError as error:
        return DataError(f"a damaged record ({error})")


def _planar(features: Mapping[str, memoryview]) -> Payload:
    """Return the pixels [H, W] or [H, W, C] of features ``shape`` and ``data``."""
    if lacking := [name for name in ("shape", "data") if name not in features]:
        return DataError(f"no feature {lacking[0]!r}; found {', '.join(features) or 'no features'}")
    data = _buffer(features["data"])
    shape = [side for side in values_of(features["shape"]) if isinstance(side, int)]
    if len(shape) != 3 or shape[0] not in (1, 3, 4) or min(shape) < 1 or len(data) != shape[0] * shape[1] * shape[2]:
        return DataError(f"expected uint8 of shape [1, 3 or 4, H, W], found {len(data)} bytes for shape {shape}")
    pixels = np.ascontiguousarray(data.reshape(shape).transpose(1, 2, 0))
    return pixels[:, :, 0] if shape[0] == 1 else pixels


def _pixels(features: Mapping[str, memoryview], layout: _Layout) -> Payload:
    """Return the pixels [H, W] or [H, W, C] of a feature, whose size is in two others."""
    data = _buffer(features[layout.image])
    sides = [values_of(features[key])[:1] if key in features else [] for key in (layout.height, layout.width)]
    height, width = (side[0] if side and isinstance(side[0], int) else 0 for side in sides)
    for channels in (1, 3, 4) if height > 0 and width > 0 else ():
        if len(data) == height * width * channels:
            shape = (height, width) if channels == 1 else (height, width, channels)
            return data.reshape(shape).copy()
    return DataError(f"expected {height}x{width} pixels of 1, 3 or 4 bytes, found {len(data)} bytes")


def _buffer(feature: memoryview) -> np.ndarray:
    values = values_of(feature)
    one = values[0] if len(values) == 1 else b""
    return np.frombuffer(one if isinstance(one, memoryview) else b"", np.uint8)


def _with_labels(source: Source, shards: Sequence[RecordFile], layout: _Layout) -> Source:
    """Return the source with the labels in its records, named by a feature of text beside them or by TFDS's file."""
    names = sorted(layout.names, key=lambda name: (name.count("/"), len(name)))
    usual = [name for word in LABELS for name in names if _last(name) == word and name != layout.image]
    if not usual:
        return source
    label = usual[0]
    text = label[: len(label) - len(_last(label))] + "text" if "/" in label else ""
    cells: list[Any] = []
    texts: list[Any] = []
    for shard in shards:
        for data in shard.read(range(len(shard)), check=False):
            found = [_cell(data, name) for name in (label, text)]
            cells.append(found[0])
            texts.append(found[1])
    if any(isinstance(cell, tuple) for cell in cells):
        cells = [cell if cell is None or isinstance(cell, tuple) else (cell,) for cell in cells]
    if is_text_of_its_own(len({cell for cell in cells if isinstance(cell, str)}), len(cells)):
        told = f"the texts in feature {printable(label)!r} are not classes, because nearly all of them differ"
        return replace(source, notes=(*source.notes, told))
    pairs = {(cell, word) for cell, word in zip(cells, texts, strict=True)}
    numbers = sorted({cell for cell in cells if isinstance(cell, int)})
    words = dict(pairs) if all(isinstance(cell, int) and isinstance(word, str) and word for cell, word in pairs) else {}
    if words and len(pairs) == len(numbers) == len(set(words.values())):
        ranks = {number: i for i, number in enumerate(numbers)}
        named = [words[number] for number in numbers]
        return with_labels(source, lambda: [ranks[cell] for cell in cells], name=label, declared=named)
    return with_labels(source, lambda: cells, name=label, declared=_declared(shards[0].path, label))


def _cell(data: memoryview | DataError, name: str) -> Any:
    """Return the label of a record: a number, text, or a tuple of several; None if it is missing."""
    try:
        features = _parsed(data)
        values = values_of(features[name]) if name in features else []
    except (DataError, ValueError):  # told when the image is read
        return None
    cells = [bytes(one).decode("utf-8", "replace") if isinstance(one, memoryview) else one for one in values]
    return cells[0] if len(cells) == 1 else tuple(cells) or None


def _declared(file: Path, label: str) -> tuple[str, ...]:
    """Return the names of the classes in LABEL.labels.txt beside a file, as TensorFlow Datasets writes it."""
    beside = file.with_name(f"{_last(label)}.labels.txt")
    return tuple(beside.read_text("utf-8", "replace").split("\n")[:-1]) if beside.is_file() else ()


def _labels_file(file: Path) -> Path:
    match = _LEVEL_NAME.fullmatch(file.name)
    return file.with_name(f"{match['stem']}-rxx.labels" if match else f"{file.stem}.labels")


def _labels_beside(path: Path, count: int) -> np.ndarray:
    """Read the labels next to a file [N, K]."""
    try:
        with path.open("rb") as stream:
            labels = load_npy(stream, path.stat().st_size)
    except NPY_BROKEN as error:
        raise DataError(f"{path}: not a NumPy array ({error})\n  fix:   download it again") from error
    numbers = labels.dtype.kind in "biuf" and labels.ndim == 2
    if not numbers or len(labels) != count:
        raise DataError(
            f"{path}: the labels do not match the images\n"
            f"  found: {labels.dtype} of shape {list(labels.shape)}; expected numbers [{count}, K]\n"
            f"  fix:   download it again, or use --labels none"
        )
    return labels
