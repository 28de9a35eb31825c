"""Labels in files beside the images: dataset.json of StyleGAN, metadata files of the hub, and WebDataset's samples."""

import csv
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from progan.data.records import Payload, Table, as_bytes, joined_tables
from progan.data.sources.label_files import LABEL_NAMES, dataset_json, table_of
from progan.data.sources.names import base_of, suffix_of
from progan.data.sources.samples import stem_of
from progan.errors import DataError

SIDE_SUFFIXES = frozenset({".cls", ".json"})
"""Extensions of files that tell about the image of the same name."""
_METADATA = ("metadata.csv", "metadata.jsonl")

_Read = Callable[[Sequence[str]], Iterator[Payload]]


def is_metadata(name: str) -> bool:
    """Return whether a file is a metadata file of the hub's image folders."""
    return base_of(name).lower() in _METADATA


def labels_beside(
    path: Path, names: Sequence[str], files: Sequence[str], inner: Callable[[str], str], read: _Read
) -> Table | None:
    """Read the labels in a dataset.json at the top, in files named like the images, or in metadata files.

    Args:
        path: path of the source, for messages.
        names: names of the images.
        files: names of all files.
        inner: returns a name without that of its shard.
        read: yields the contents of files by their names.

    Returns:
        The labels, or None if there are none.

    Raises:
        DataError: if there are labels, but they cannot be read.
    """
    try:
        for find in (_dataset_json, _samples, _metadata):
            if (table := find(names, files, inner, read)) is not None:
                return table
    except (ValueError, csv.Error, DataError) as error:
        fix = "use --labels none, --labels folder, or --labels FILE with other labels"
        raise DataError(f"{path}: the labels in it cannot be read ({error})\n  fix:   {fix}") from error
    return None


def _dataset_json(names: Sequence[str], files: Sequence[str], inner: Callable[[str], str], read: _Read) -> Table | None:
    """Read the dataset.json of every shard, at the top of the images."""
    found = [name for name in files if base_of(name) == "dataset.json"]
    tops = {name: PurePosixPath(name).parent for name in found}
    tops = {
        name: top
        for name, top in tops.items()
        if not any(top != one and top.is_relative_to(one) for one in tops.values())
    }
    tables = []
    for name, top in tops.items():
        table = dataset_json(as_bytes(next(read([name]))), where=name)
        tables += [replace(table, files=[str(top / file) for file in table.files])] if table else []
    return joined_tables(tables)


def _samples(names: Sequence[str], files: Sequence[str], inner: Callable[[str], str], read: _Read) -> Table | None:
    """Read KEY.cls, else KEY.json, of every image KEY.jpg or KEY.WHAT.jpg."""
    for suffix, parse in ((".cls", _from_cls), (".json", _from_json)):
        beside = {stem_of(name): name for name in files if suffix_of(name) == suffix}
        sides = {name: side for name in names if (side := _side(name, beside))} if beside else {}
        if not sides:
            continue
        wanted = sorted(set(sides.values()))
        found = {side: parse(as_bytes(data)) for side, data in zip(wanted, read(wanted), strict=True)}
        labels = [found[sides[name]][0] if name in sides else None for name in names]
        more = [found[sides[name]][1] if name in sides else {} for name in names]
        keys = dict.fromkeys(itertools.chain.from_iterable(more))
        columns = {key: [others.get(key) for others in more] for key in keys}
        some = any(label is not None for label in labels)
        if some or columns:
            return Table(files=names, labels=labels if some else None, columns=columns, by_the_way=not some)
    return None


def _side(name: str, beside: dict[str, str]) -> str | None:
    """Return the file that tells about an image: the one with the longest common name up to a dot."""
    stem = stem_of(name)
    while stem not in beside:
        shorter = stem_of(stem)
        if shorter == stem:
            return None
        stem = shorter
    return beside[stem]


def _from_cls(data: bytes) -> tuple[Any, dict[str, Any]]:
    return data.decode("utf-8-sig").strip() or None, {}


def _from_json(data: bytes) -> tuple[Any, dict[str, Any]]:
    """Return the label in a JSON file, and everything else in it."""
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(content, dict):
        return (content, {}) if isinstance(content, int | str | float) else (None, {})
    key = next((key for key in LABEL_NAMES if key in content), "")
    return content.pop(key, None), content


def _metadata(names: Sequence[str], files: Sequence[str], inner: Callable[[str], str], read: _Read) -> Table | None:
    """Read the metadata files of the hub's image folders, each of which tells about the files below its folder."""
    tables = []
    for name in filter(is_metadata, files):
        data, folder = as_bytes(next(read([name]))), PurePosixPath(name).parent
        table = table_of(data, where=name, lines=suffix_of(name) == ".jsonl", alone=False)
        tables.append(replace(table, files=[str(folder / file) for file in table.files], by_the_way=True))
    return joined_tables(tables)
