"""Data sets of the Hugging Face Hub by name, and folders written by ``save_to_disk`` of its library.

The library ``datasets`` downloads and converts them to Arrow files, which are read here in place.
"""

import functools
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from progan.data.records import Choice, Payload, Source, numbered
from progan.data.sources.arrow_images import Place, check_names, image_of
from progan.data.sources.arrows import TableFile, first_line, table_source
from progan.data.sources.fields import pick_split
from progan.errors import DataError

_NAME = re.compile(r"hf:(?P<repo>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?(?::(?P<config>.+))?")
_SUFFIXES = (".arrow", ".feather")
_MAGIC = b"ARROW1"  # of files with an index; streams of record batches have none
_MOST = 200  # characters of a foreign message
_NO_PACKAGE = "{}: reading it requires another package\n  fix:   pip install 'progan[hf]'"


def is_hub_name(name: str) -> bool:
    """Return whether a name refers to the Hub: hf:OWNER/NAME, optionally with @REVISION and :CONFIG."""
    return name.startswith("hf:")


def hub_source(name: str, choice: Choice) -> tuple[Path, Source]:
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
    source = _of_split(name, f"Hugging Face {name}, {choice.split}", files, choice, roots=_cache_roots())
    return next(file for part in files.values() for file in part).parent, source


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


def arrow_files(path: Path) -> dict[str, list[Path]]:
    """Return the .arrow and .feather files directly in a folder by their names, or the file itself if it is one."""
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
    else:
        with path.open("rb") as file:
            found = [path] if file.read(len(_MAGIC)) == _MAGIC or path.suffix.lower() in _SUFFIXES else []
    return {file.name: [file] for file in found if file.is_file() and not file.name.startswith(".")}


def saved_source(path: Path, files: Mapping[str, list[Path]], choice: Choice) -> Source:
    """Return the images of a data set written by ``save_to_disk``, or of other Arrow files.

    Raises:
        DataError: if the split is missing, a file is broken, or there is no column of images.
    """
    return _of_split(str(path), f"Arrow {path.resolve().name}", files, choice)


def _of_split(
    where: str, description: str, files: Mapping[str, list[Path]], choice: Choice, *, roots: Sequence[Path] = ()
) -> Source:
    """Return the images of a split, or of all files if the names of the parts mention no split."""
    chosen, notes, heeds = pick_split(files, choice.split, where=where)
    source = arrow_source(description, chosen, column=choice.column, roots=roots)
    return replace(source, notes=(*source.notes, *notes), heeds=source.heeds | heeds)


def arrow_source(description: str, files: Sequence[Path], *, column: str = "", roots: Sequence[Path] = ()) -> Source:
    """Return the images and labels of Arrow files, which stay on disk.

    Args:
        description: kind and name of the source.
        files: files or streams of record batches, as written by ``datasets``.
        column: column of the images; '' chooses one by its name.
        roots: folders that may contain images as separate files; paths to other places are not followed.

    Raises:
        DataError: if a file is broken or has no column of images.
    """
    tables = [_table(_open(file), roots) for file in files]
    if not any(table.count for table in tables):
        raise DataError(f"{description}: contains no images\n  found: 0 rows\n  fix:   use another --split")
    return table_source(description, tables, column)


@dataclass(frozen=True, kw_only=True)
class _Arrow:
    """An Arrow file, opened."""

    file: Path
    schema: Any
    counts: list[int]
    """Number of rows of each record batch."""
    batch: Callable[[int, str], Any]
    """Returns a record batch with the column of a name, and perhaps with others."""


def _table(arrow: _Arrow, roots: Sequence[Path]) -> TableFile:
    def column(name: str) -> Any:
        import pyarrow

        chunks = [_valid(arrow.batch(i, name), name) for i in range(len(arrow.counts))]
        return pyarrow.chunked_array(chunks, arrow.schema.field(name).type)

    def read(batch: int, place: Place, positions: Sequence[int]) -> Iterator[Payload]:
        try:
            values = _valid(arrow.batch(batch, place.path[0]), place.path[0])
        except (ValueError, OSError, LookupError) as error:  # pyarrow's errors are among these
            why = f"damaged in the Arrow file ({first_line(error)})"
            return (DataError(why) for _ in positions)
        return (image_of(values[row].as_py(), place, roots) for row in positions)

    def images(place: Place) -> list[Source]:
        starts = itertools.accumulate(arrow.counts, initial=0)
        return [
            numbered(arrow.file.name, count, functools.partial(read, i, place), first=start)
            for i, (count, start) in enumerate(zip(arrow.counts, starts, strict=False))
        ]

    count = sum(arrow.counts)
    return TableFile(file=arrow.file, schema=arrow.schema, count=count, column=column, images=images)


def _valid(batch: Any, name: str) -> Any:
    """Return a column whose offsets do not lead out of its data, which pyarrow does not check when it reads.

    Raises:
        ValueError: if they do.
    """
    column = batch.column(name)
    column.validate(full=True)
    return column


def _open(file: Path) -> _Arrow:
    """Open a file; streams are mapped into memory, and files with an index read one batch and column at a time."""
    try:
        import pyarrow
    except ImportError:
        raise DataError(_NO_PACKAGE.format(file)) from None
    try:
        content = pyarrow.memory_map(str(file))
        if content.read(len(_MAGIC)) == _MAGIC:
            return _indexed(file, content)
        content.seek(0)
        table = pyarrow.ipc.open_stream(content).read_all()
        check_names(table.schema)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{file}: not a readable Arrow file ({first_line(error)})\n  fix:   download or save it again"
        ) from error
    batches = table.to_batches()
    return _Arrow(file=file, schema=table.schema, counts=[len(b) for b in batches], batch=lambda i, _: batches[i])


def _indexed(file: Path, content: Any) -> _Arrow:
    """Open a file with an index, whose batches may be compressed."""
    import pyarrow

    schema = pyarrow.ipc.open_file(content).schema
    check_names(schema)

    def reader(field: int) -> Any:
        return pyarrow.ipc.open_file(content, options=pyarrow.ipc.IpcReadOptions(included_fields=[field]))

    short = next((i for i, field in enumerate(schema) if pyarrow.types.is_primitive(field.type)), 0)
    rows = reader(short)
    counts = [rows.get_batch(i).num_rows for i in range(rows.num_record_batches)]
    return _Arrow(
        file=file,
        schema=schema,
        counts=counts,
        batch=lambda i, name: reader(schema.get_field_index(name)).get_batch(i),
    )
