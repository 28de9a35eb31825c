"""The kinds of inputs, and the one that belongs to a seed."""

import functools
import importlib.util
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from fuzz import (
    hostile,
    hostile_archives,
    hostile_arrays,
    hostile_images,
    hostile_texts,
    seeds,
    seeds_data,
    seeds_texts,
)
from fuzz.cases import Case, pick
from fuzz.drawn import drawn_case
from fuzz.lies import hurt
from fuzz.seeds import Builder, image_file

_POOL = 16  # sound cases of a kind
_SOUND_EVERY, _HOSTILE_EVERY, _PREPARE_EVERY = 50, 4, 40
LOSSLESS = "1 L LA P RGB RGBA"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of inputs."""

    builders: Sequence[Builder]
    """Functions that make sound cases."""
    hostile: Callable[[Random], list[Case]] = field(default=lambda _: [])
    """Makes the inputs that are written by hand; each comes once."""
    drawn: str = ""
    """Kind of text that hypothesis draws for a third of the inputs."""
    needs: str = ""
    """Package without which this kind is left out."""
    known: bool = True
    """Whether a sound case must be read."""
    rename: bool = False
    """Whether files also get the names of others."""


def _image(
    kind: str,
    suffix: str,
    modes: str,
    options: tuple[dict, ...] = ({},),
    bombs: Callable | None = None,
    **facts: object,
) -> Kind:
    large = bombs or hostile_images.others(kind, suffix)
    return Kind(builders=[image_file(kind, suffix, modes, options)], hostile=large, **facts)  # pyright: ignore[reportArgumentType]


_RARE = [
    ("QOI", ".qoi", "RGB RGBA"),
    ("PCX", ".pcx", "1 L P RGB"),
    ("SGI", ".sgi", "L RGB RGBA"),
    ("DDS", ".dds", "RGB RGBA"),
    ("IM", ".im", "L RGB"),
    ("ICNS", ".icns", "RGBA"),
    ("MSP", ".msp", "1"),
    ("XBM", ".xbm", "1"),
    ("SPIDER", ".spi", "L"),
    ("DIB", ".dib", "L RGB"),
    ("MPO", ".mpo", "RGB"),
]

_PACKINGS = (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4")
KINDS: dict[str, Kind] = {
    "png": Kind(
        builders=[
            image_file(
                "PNG",
                ".png",
                f"{LOSSLESS} I;16",
                ({}, {"optimize": True}, {"frames": 1}, {"exif": 1}, {"transparency": 3}),
            ),
            seeds.png,
        ],
        hostile=hostile_images.pngs,
    ),
    "jpeg": _image(
        "JPEG",
        ".jpg",
        "L RGB CMYK",
        ({}, {"quality": 95}, {"progressive": True}, {"exif": 1}, {"subsampling": 0, "restart_marker_blocks": 1}),
        hostile_images.jpegs,
    ),
    "webp": _image(
        "WEBP",
        ".webp",
        "RGB RGBA L",
        ({"lossless": True}, {"lossless": True}, {"quality": 90}, {"frames": 1, "lossless": True}, {"exif": 1}),
    ),
    "tiff": Kind(
        builders=[
            image_file(
                "TIFF",
                ".tif",
                f"{LOSSLESS} I;16 CMYK I",
                ({"frames": 1}, *({"compression": c} for c in _PACKINGS)),
            ),
            seeds.tiff,
        ],
        hostile=hostile_images.others("TIFF", ".tif"),
        needs="tifffile",
    ),
    "gif": _image("GIF", ".gif", "1 L P RGB RGBA", ({}, {"interlace": 0}, {"frames": 1}, {"transparency": 1})),
    "bmp": Kind(builders=[image_file("BMP", ".bmp", "1 L P RGB RGBA")], hostile=hostile_images.others("BMP", ".bmp")),
    "ppm": _image("PPM", ".ppm", "1 L RGB I;16"),
    "avif": _image(
        "AVIF", ".avif", "L RGB RGBA", ({"speed": 10, "max_threads": 1},), hostile_images.others("AVIF", ".avif", 5000)
    ),
    "jp2": _image(
        "JPEG2000",
        ".jp2",
        "L LA RGB RGBA",
        ({}, {"irreversible": True}, {"no_jp2": True}),
        hostile_images.others("JPEG2000", ".jp2", 5000),
    ),
    "tga": _image("TGA", ".tga", "L LA P RGB RGBA", ({}, {"compression": "tga_rle"})),
    "ico": _image("ICO", ".ico", "RGB RGBA L", ({}, {"bitmap_format": "bmp"}), lambda _: []),
    "rare": Kind(builders=[image_file(*one) for one in _RARE], known=False),
    "folder": Kind(builders=[seeds.folder], hostile=hostile_texts.folders, drawn="names", rename=True),
    "zip": Kind(builders=[seeds.zip_case], hostile=hostile_archives.zips),
    "tar": Kind(builders=[seeds.tar_case], hostile=hostile_archives.tars),
    "webdataset": Kind(builders=[seeds.webdataset], drawn="webdataset"),
    "idx": Kind(builders=[seeds_data.idx_case], hostile=hostile_arrays.idxs),
    "cifar": Kind(builders=[seeds_data.cifar], hostile=hostile_arrays.pickles),
    "mat": Kind(builders=[seeds_data.mat], hostile=hostile_arrays.mats, needs="scipy"),
    "npy": Kind(builders=[seeds_data.npy]),
    "npz": Kind(builders=[seeds_data.npz], hostile=hostile_arrays.arrays),
    "tfrecord": Kind(builders=[seeds_data.tfrecord], hostile=hostile_arrays.tfrecords),
    "lmdb": Kind(builders=[seeds_data.lmdb_case], needs="lmdb"),
    "parquet": Kind(builders=[seeds_data.parquet], hostile=hostile_arrays.tables, needs="pyarrow"),
    "arrow": Kind(builders=[seeds_data.arrow], needs="datasets"),
    "hdf5": Kind(builders=[seeds_data.hdf5], needs="h5py"),
    "csv": Kind(builders=[seeds_texts.label_file], hostile=hostile_texts.texts, drawn="csv"),
    "json": Kind(builders=[seeds_texts.dataset_json], drawn="dataset"),
    "metadata": Kind(builders=[seeds_texts.metadata], drawn="metadata"),
    "store": Kind(builders=[seeds_texts.store], hostile=hostile_texts.stores),
    "mixed": Kind(builders=[], rename=True),
}
"""All kinds by name."""


def lacking(name: str) -> str:
    """Return the package that a kind needs and that is not installed, or nothing."""
    needs = KINDS[name].needs
    return needs if needs and importlib.util.find_spec(needs) is None else ""


@functools.lru_cache(maxsize=4096)
def pool(name: str, number: int) -> Case:
    """Return one of the sound cases of a kind."""
    rng, builders = Random(f"{name}/{number}"), KINDS[name].builders
    if name == "mixed":
        others = [kind for kind in KINDS if kind not in ("mixed", "store", "arrow", "lmdb") and not lacking(kind)]
        return pool(rng.choice(others), number)
    return replace(builders[number % len(builders)](rng), sound=KINDS[name].known)


@functools.cache
def by_hand(name: str) -> list[Case]:
    """Return the hostile inputs of a kind."""
    return KINDS[name].hostile(Random(name))


_CHOICES = (
    {"split": "all"},
    {"split": "test"},
    {"split": "val"},
    {"member": "jpg"},
    {"member": "64"},
    {"column": "image"},
    {"exclude": ("*1*",)},
)


def by_hand_at(seed: int) -> int | None:
    """Return which of the hostile inputs, if there are so many, belongs to a seed."""
    return seed // _HOSTILE_EVERY if seed % _HOSTILE_EVERY == 3 else None


def make(name: str, seed: int) -> Case:
    """Return the input of a kind that belongs to a seed; it depends on nothing else."""
    place = by_hand_at(seed)
    if place is not None and place < len(by_hand(name)):
        return by_hand(name)[place]
    rng, kind = Random(f"{name}:{seed}"), KINDS[name]
    if kind.drawn and rng.random() < 1 / 3:
        return drawn_case(rng, kind.drawn)
    case = pool(name, rng.randrange(_POOL if name != "mixed" else 200))
    how = "prepare" if case.how == "read" and seed % _PREPARE_EVERY == 1 else case.how
    if seed % _SOUND_EVERY == 0:
        return case
    labels = rng.choice((*(case.labels,) * 18, "none", "folder"))
    case = case.changed("", how=how, choice=rng.choice((*({},) * 100, *_CHOICES)), labels=labels)
    for _ in range(rng.choice((1, 1, 1, 2))):
        case = _damaged(rng, kind, case)
    return case


def _damaged(rng: Random, kind: Kind, case: Case) -> Case:
    target = pick(rng, case.files)
    content = case.files[target]
    if kind.rename and rng.random() < 0.6:
        return _renamed(rng, case, target)
    others = [data for data in itertools.islice(case.files.values(), 6) if isinstance(data, bytes)]
    files = case.files | {target: hurt(rng, content if isinstance(content, bytes) else b"", others)}
    return case.changed(f"{case.note} {target} damaged".strip(), files=files)


_MAGIC_NAMES = (
    "dataset.json",
    "metadata.csv",
    "metadata.jsonl",
    "data.mdb",
    "a.tfrecords",
    "a-r02.tfrecords",
    "a.tar",
    "a.tar.gz",
    "a.zip",
    "a.parquet",
    "manifest.json",
    "dataset_dict.json",
    "state.json",
    "dataset_info.json",
    "train-images-idx3-ubyte",
    "train-images-idx3-ubyte.gz",
    "data_batch_1",
    "train",
    "meta",
    "batches.meta",
    "train_32x32.mat",
    "a.mat",
    "a.npy",
    "a.npz",
    "a.h5",
    "16x16.npy",
    "labels.npy",
    "a.png",
    "a.jpg",
    "a.gif",
    "a.tif",
    "a.webp",
    "a.bmp",
    "a.ppm",
    "a.txt",
    "a",
    "a.lmdb",
    "a.arrow",
    "list_attr_celeba.txt",
    "a.avif",
    "a.psd",
    "a.eps",
    "a.svg",
)


def _renamed(rng: Random, case: Case, target: str) -> Case:
    """Give a file a name that means something else, or that is odd."""
    folder, _, _ = target.rpartition("/")
    base = rng.choice(
        (
            *_MAGIC_NAMES,
            *_MAGIC_NAMES,
            *(name for name in hostile.BAD_NAMES if ".." not in name and not name.startswith("/")),
        )
    )
    name = f"{folder}/{base}" if folder and rng.random() < 0.5 else base
    files = {name if old == target else old: data for old, data in case.files.items()}
    files |= {target: case.files[target]} if rng.random() < 0.3 else {}
    return case.changed(
        f"{case.note} {target} named {name[:60]!r}".strip(),
        files=files,
        open=name if case.open == target else case.open,
    )
