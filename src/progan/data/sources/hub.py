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

from progan.data.records import Choice, Payload, Source, numbered
from progan.data.sources.arrow_images import Place, image_of
from progan.data.sources.arrows import TableFile, first_line, table_source
from progan.data.sources.fields import pick_split
from progan.errors import DataError

_NAME = re.compile(r"hf:(?P<repo>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?(?::(?P<config>.+))?")
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


def saved_source(path: Path, files: Mapping[str, list[Path]], choice: Choice) -> Source:
    """Return the images of a data set written by ``save_to_disk``.

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
        files: streams of record batches, as written by ``datasets``.
        column: column of the images; '' chooses one by its name.
        roots: folders that may contain images as separate files; paths to other places are not followed.

    Raises:
        DataError: if a file is broken or has no column of images.
    """
    tables = [_table(file, _open(file), roots) for file in files]
    if not any(table.count for table in tables):
        raise DataError(f"{description}: contains no images\n  found: 0 rows\n  fix:   use another --split")
    return table_source(description, tables, column)


def _table(file: Path, table: Any, roots: Sequence[Path]) -> TableFile:
    def images(place: Place) -> list[Source]:
        def read(positions: Sequence[int]) -> Iterator[Payload]:
            values = table[place.path[0]]
            for row in positions:
                yield image_of(values[row].as_py(), place, roots)

        return [numbered(file.name, len(table), read)]

    return TableFile(file=file, schema=table.schema, count=len(table), column=lambda name: table[name], images=images)


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
