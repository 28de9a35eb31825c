"""HDF5 files with arrays of images or encoded images, and MATLAB 7.3 files, read in blocks.

Nothing outside of the file is read: links to other files, virtual datasets and external storage are refused, and so are
filters that would load a plug-in.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from progan.data.decoding import peek
from progan.data.printing import printable
from progan.data.records import Choice, Payload, Source, joined
from progan.data.sources.array_files import Stored, arrays_source
from progan.data.sources.fields import pick_split
from progan.data.sources.names import IMAGE_SUFFIXES
from progan.data.sources.rows import WHOLE_BYTES, Rows
from progan.errors import DataError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")
_FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
_BLOCK_BYTES = 16 << 20  # of a read
_MOST_OBJECTS = 10_000
_DEEPEST = 16  # groups inside each other
_TRIED = 8  # values looked at before bytes are taken for something else than images


def is_hdf5(path: Path) -> bool:
    """Return whether a file has the signature of HDF5, perhaps behind a block for another program."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for at in itertools.chain([0], (512 << i for i in range(12))):
            if at + len(_SIGNATURE) > size:
                return False
            file.seek(at)
            if file.read(len(_SIGNATURE)) == _SIGNATURE:
                return True
    return False


def hdf5_files(path: Path) -> list[Path]:
    """Return the HDF5 files of a folder without images and other folders, or the file itself if it is one."""
    if not path.is_dir():
        return [path] if path.is_file() and (path.suffix.lower() in _SUFFIXES or is_hdf5(path)) else []
    inside = [file for file in path.iterdir() if not file.name.startswith(".")]
    found = sorted(file for file in inside if file.suffix.lower() in _SUFFIXES and file.is_file())
    others = any(file.suffix.lower() in IMAGE_SUFFIXES or file.is_dir() for file in inside) if found else False
    return [] if others else found


def hdf5_source(path: Path, files: Sequence[Path], choice: Choice) -> Source:
    """Return the images of an HDF5 file, or of files named after splits, such as train.h5 and test.h5.

    Images are datasets [N, H, W], [N, H, W, C] or [N, C, H, W], or encoded images as bytes of variable length. Which
    datasets are images, labels and columns is decided by ``arrays_source``.

    Args:
        path: path that the user passed, for messages.
        files: the files.
        choice: split to use, and the dataset of the images (``column``).

    Raises:
        DataError: if a file is broken, contains no images, or refers to other files.
    """
    if len(files) == 1:
        return _source(files[0], choice)
    chosen, notes, heeds = pick_split({file.name: [file] for file in files}, choice.split, where=str(path))
    if not heeds:
        found = ", ".join(file.name for file in files[:8])
        fix = "pass one of these files, or name them train.h5, val.h5 and test.h5"
        raise DataError(f"{path}: several HDF5 files in one folder\n  found: {found}\n  fix:   {fix}")
    parts = [_source(file, replace(choice, split="all")) for file in chosen]
    whole = joined(f"HDF5 {path.resolve().name}", parts)
    return replace(whole, notes=(*whole.notes, *notes), heeds=whole.heeds | heeds)


def _source(path: Path, choice: Choice) -> Source:
    try:
        with _opened(path) as file:
            matlab = _is_matlab(path)
            found = list(_datasets(file))
            left = [f"{printable(name)} ({why})" for name, _, why in found if why]
            arrays = {name: _stored(path, dataset, matlab) for name, dataset, why in found if not why}
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise _broken(path, error) from error
    parents = {name.rpartition("/")[0] for name in arrays}
    if len(parents) == 1 and (prefix := f"{parents.pop()}/") != "/":  # one group around everything
        arrays = {name.removeprefix(prefix): stored for name, stored in arrays.items()}
    if left and not any(stored.is_images for stored in arrays.values()):
        raise DataError(
            f"{path}: no images that can be read\n"
            f"  found: {', '.join(left[:5])}\n"
            f"  fix:   write the images into the file itself with h5py, with gzip or without compression"
        )
    try:
        source = arrays_source(path, f"HDF5 {path.name}", arrays, choice)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise _broken(path, error) from error
    told = f"left out of {path.name}: {', '.join(left[:5])}"
    return replace(source, notes=(*source.notes, told)) if left else source


def _broken(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: not a readable HDF5 file ({str(error).splitlines()[0] if str(error) else type(error).__name__})\n"
        f"  found: {path.stat().st_size} bytes\n"
        f"  fix:   download or save it again"
    )


def _opened(path: Path) -> Any:
    try:
        import h5py
    except ImportError:
        raise DataError(f"{path}: reading HDF5 requires h5py\n  fix:   pip install 'progan[hdf5]'") from None
    with path.open("rb"):  # says more than HDF5 if that is forbidden
        pass
    return h5py.File(path, "r", locking=False, rdcc_nbytes=4 * _BLOCK_BYTES)


def _is_matlab(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(10) == b"MATLAB 7.3"


def _datasets(file: Any) -> Iterator[tuple[str, Any, str]]:
    """Yield the name of every dataset, the dataset, and why it cannot be used; links are not followed."""
    import h5py

    groups, seen, count = [("", file, 0)], set(), 0
    while groups:
        prefix, group, depth = groups.pop()
        if group.id in seen or prefix.startswith("#refs#"):  # MATLAB's place for the contents of cells
            continue
        seen.add(group.id)  # equal for the same object under another name
        for name in group:
            count += 1
            if count > _MOST_OBJECTS:
                raise ValueError(f"more than {_MOST_OBJECTS} datasets; save the images in one")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                what = "another file" if isinstance(link, h5py.ExternalLink) else "another place"
                yield f"{prefix}{name}", None, f"a link to {what}, which is not followed"
                continue
            one = group[name]
            if isinstance(one, h5py.Group) and depth < _DEEPEST:
                groups.append((f"{prefix}{name}/", one, depth + 1))
            elif isinstance(one, h5py.Dataset):
                yield f"{prefix}{name}", one, _refusal(one)


def _refusal(dataset: Any) -> str:
    """Return why a dataset cannot be read safely; '' if it can."""
    if dataset.is_virtual or dataset.external:
        return "its numbers are in other files, which are not read"
    if dataset.shape is None:
        return "empty"
    plan = dataset.id.get_create_plist()
    numbers = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    if foreign := [number for number in numbers if number not in _FILTERS]:
        return f"compressed by the plug-in {foreign[0]}, which is not loaded"
    size = dataset.dtype.itemsize * math.prod(dataset.chunks or dataset.shape[1:])
    return f"{size} bytes would have to be read at once" if size > WHOLE_BYTES else ""


@dataclass(frozen=True, kw_only=True)
class _Dataset:
    """A dataset that is opened again for each read, so that its reader can go to other processes."""

    path: Path
    name: str

    def blocks(self, positions: Sequence[int], rows: int) -> Iterator[Any]:
        """Yield the rows at ascending positions, read in blocks of at most ``rows``, or why they cannot be read."""
        done = 0
        try:
            with _opened(self.path) as file:
                dataset = file[self.name]
                for _, group in itertools.groupby(positions, lambda i: i // rows):
                    wanted = list(group)
                    block = dataset[wanted[0] : wanted[-1] + 1]
                    for i in wanted:
                        yield block[i - wanted[0]]
                        done += 1
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            for _ in range(len(positions) - done):
                yield DataError(f"damaged in the HDF5 file ({str(error).splitlines()[0] if str(error) else error!r})")


def _stored(path: Path, dataset: Any, matlab: bool) -> Stored:
    """Return how to read a dataset; MATLAB's axes are in reverse."""
    import h5py

    one = _Dataset(path=path, name=dataset.name)
    shape, dtype = dataset.shape, dataset.dtype
    flip = matlab and len(shape) > 1
    if flip:
        shape = shape[::-1] if len(shape) == 2 else (shape[0], *shape[:0:-1])
    row_bytes = max(dtype.itemsize * math.prod(dataset.shape[1:]), 1)
    in_chunk = dataset.chunks[0] if dataset.chunks else 1
    rows = max(_BLOCK_BYTES // row_bytes // in_chunk * in_chunk, min(in_chunk, 4 * _BLOCK_BYTES // row_bytes), 1)

    def read(positions: Sequence[int]) -> Iterator[np.ndarray | DataError]:
        for row in one.blocks(positions, rows):
            yield row.T if flip and isinstance(row, np.ndarray) else row

    def load() -> np.ndarray:
        if math.prod(dataset_shape) * dtype.itemsize > WHOLE_BYTES:
            raise ValueError(f"{one.name} is too large to be labels")
        with _opened(path) as file:
            data = file[one.name]
            text = h5py.check_string_dtype(data.dtype)
            whole = np.asarray(data.asstr(errors="replace")[...] if text is not None else data[...])
            return whole.T if flip else whole

    dataset_shape = shape
    rows_of = Rows(shape=shape, dtype=dtype, read=read)
    stored = Stored(shape=shape, dtype=dtype, rows=lambda: rows_of, load=load)
    is_bytes = h5py.check_vlen_dtype(dtype) == np.uint8 and len(shape) == 1
    if not is_bytes:
        return stored
    return replace(stored, encoded=_bytes_of(one)) if _are_images(_bytes_of(one), shape[0]) else stored


def _bytes_of(dataset: _Dataset) -> Any:
    def read(positions: Sequence[int]) -> Iterator[Payload]:
        for value in dataset.blocks(positions, 32):
            data = value if isinstance(value, DataError) else np.asarray(value, np.uint8).tobytes()
            yield data or DataError("an empty value")

    return read


def _are_images(read: Any, count: int) -> bool:
    for data in read(range(min(count, _TRIED))):
        try:
            peek(data)
            return True
        except DataError:
            continue
    return False
