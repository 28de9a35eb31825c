"""Data sets of the Hugging Face Hub by name, and folders written by ``save_to_disk`` of its library.

The library ``datasets`` downloads and converts them to Arrow files, which are read here in place.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from progan.data.records import Payload, Reader, Source, joined, numbered
from progan.data.sources.arrows import first_line, image_columns, labels_of, other_columns
from progan.errors import DataError

_NAME = re.compile(r"hf:(?P<repo>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?(?::(?P<config>.+))?")
_MOST = 200  # characters of a foreign message
_NO_PACKAGE = "{}: reading it requires another package\n  fix:   pip install 'progan[hf]'"


def is_hub_name(name: str) -> bool:
    """Return whether a name refers to the Hub: hf:OWNER/NAME, optionally with @REVISION and :CONFIG."""
    return name.startswith("hf:")


def hub_source(name: str, split: str) -> tuple[Path, Source]:
    """Return the folder and the images of a data set of the Hub, downloaded into the cache of ``datasets`` if needed.

    Splits other than train and test are part of 'all'. No code from the Hub is run, which ``datasets`` has not
    supported since version 4.

    Raises:
        DataError: if the library is missing, there is no such data set, split or configuration, the Hub cannot be
            reached, or there is no column of images.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        fix = "use hf:OWNER/NAME[@REVISION][:CONFIG]"
        raise DataError(f"{name!r}: not the name of a data set on the Hugging Face Hub\n  fix:   {fix}")
    if Path(match["repo"]).exists():
        raise DataError(
            f"{name}: the local folder {match['repo']} has the same name and would be read instead\n"
            f"  fix:   run this in another folder, or run 'progan prepare {match['repo']} STORE' to read that folder"
        )
    loaded = _load(name, match["repo"], match["config"], match["revision"])
    files = {part: [Path(file["filename"]) for file in data.cache_files] for part, data in loaded.items()}
    chosen = _choose_split(name, files, split)
    source = arrow_source(f"Hugging Face {name}, {split}", chosen, roots=_cache_roots())
    return chosen[0].parent, source


def _load(name: str, repo: str, config: str | None, revision: str | None) -> Mapping[str, Any]:
    """Load all splits, by name."""
    try:
        import datasets
    except ImportError:
        raise DataError(_NO_PACKAGE.format(name)) from None
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(repo, config, revision=revision)  # type: ignore[return-value]
    except Exception as error:  # it lets through whatever went wrong below it
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        page, fix = f"https://huggingface.co/datasets/{repo}", "see {}"
        if "onfig" in reason:
            fix = f"use hf:{repo}:CONFIG with one of its configurations"
        elif isinstance(error, ConnectionError):
            fix = "run this again when {} can be reached; finished downloads are kept"
        elif "NotFound" in reason:
            fix = "check the name at {}; a private data set requires 'hf auth login'"
        raise DataError(
            f"{name}: cannot be loaded\n"
            f"  found: {reason if len(reason) <= _MOST else reason[:_MOST] + '...'}\n"
            f"  fix:   {fix.format(page)}"
        ) from error


def _cache_roots() -> tuple[Path, ...]:
    """Folders in which ``datasets`` keeps images that are separate files."""
    from datasets import config
    from huggingface_hub import constants

    return tuple(Path(path).resolve() for path in (config.HF_DATASETS_CACHE, constants.HF_HUB_CACHE))


def saved_files(path: Path) -> dict[str, list[Path]]:
    """Return the Arrow files of each split of a folder written by ``save_to_disk``; empty for any other folder.

    Raises:
        DataError: if the folder is damaged.
    """
    parts = path / "dataset_dict.json"
    if not parts.is_file() and not ((path / "state.json").is_file() and (path / "dataset_info.json").is_file()):
        return {}
    try:
        names = json.loads(parts.read_bytes())["splits"] if parts.is_file() else [""]
        folders = {name: path / Path(name).name for name in names}
        states = {name: json.loads((folder / "state.json").read_bytes()) for name, folder in folders.items()}
        return {
            name: [folders[name] / Path(file["filename"]).name for file in state["_data_files"]]
            for name, state in states.items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path}: incomplete folder of save_to_disk ({reason})\n  fix:   save it again") from error


def saved_source(path: Path, files: Mapping[str, list[Path]], split: str) -> Source:
    """Return the images of a data set written by ``save_to_disk``.

    Raises:
        DataError: if the split is missing, a file is broken, or there is no column of images.
    """
    return arrow_source(f"Arrow {path.resolve().name}", _choose_split(str(path), files, split))


def _choose_split(name: str, files: Mapping[str, list[Path]], split: str) -> list[Path]:
    """Return the files of a split, or all files if no split is named train or test."""
    if split == "all" or not {"train", "test"} & set(files):
        return [file for part in files.values() for file in part]
    if chosen := files.get(split):
        return chosen
    raise DataError(f"{name}: no split {split!r}\n  found: {', '.join(files)}\n  fix:   use --split train, test or all")


def arrow_source(description: str, files: Sequence[Path], *, roots: Sequence[Path] = ()) -> Source:
    """Return the encoded images and labels of Arrow files, which stay on disk.

    Args:
        description: kind and name of the source.
        files: streams of record batches, as written by ``datasets``.
        roots: folders that may contain images as separate files; paths to other places are not followed.

    Raises:
        DataError: if a file is broken or has no column of images.
    """
    tables = [(file, _open(file)) for file in files]
    if not any(len(table) for _, table in tables):
        raise DataError(f"{description}: contains no images\n  found: 0 rows\n  fix:   use another --split")
    schema = tables[0][1].schema
    column, label, classes = image_columns(files[0], schema)
    read = [(file, lambda name, table=table: table[name]) for file, table in tables]
    labels, classes = labels_of(read, label, classes)
    parts = [numbered(file.name, len(table), _reader(table, column, roots)) for file, table in tables]
    whole = joined(description, parts)
    columns = other_columns(read, schema, len(whole), (column.partition(".")[0], label))
    return replace(whole, labels=labels, classes=classes, columns=columns)


def _reader(table: Any, column: str, roots: Sequence[Path]) -> Reader:
    field, _, inner = column.partition(".")

    def read(positions: Sequence[int]) -> Iterator[Payload]:
        for row in positions:
            value = table[field][row].as_py()
            yield _payload(value or {}, roots) if inner else value or DataError("no image in this row")

    return read


def _payload(image: Mapping[str, Any], roots: Sequence[Path]) -> Payload:
    if image.get("bytes"):
        return image["bytes"]
    path = Path(image.get("path") or "")
    if path.name and any(path.resolve().is_relative_to(root) for root in roots):
        return path
    return DataError("no image bytes in this row; paths to other files are not followed")


def _open(file: Path) -> Any:
    """Open a table as memory-mapped batches."""
    try:
        import pyarrow
    except ImportError:
        raise DataError(_NO_PACKAGE.format(file)) from None
    try:
        return pyarrow.ipc.open_stream(pyarrow.memory_map(str(file))).read_all()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{file}: not a readable Arrow file ({first_line(error)})\n  fix:   download or save it again"
        ) from error
