"""Known data sets by name: where their files are, their checksums, and how the paper crops them.

All SHA-256 sums are those of the official files; a mirror that serves anything else is rejected.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from progan.data.options import PrepareOptions
from progan.data.preparing import prepare
from progan.data.recipes.mnist_rgb import mnist_rgb_source
from progan.data.records import Source
from progan.data.sources import chosen, open_source
from progan.data.sources.hub import hub_source, is_hub_name
from progan.data.sources.labels import label, split_labels
from progan.data.store import Store
from progan.download import fetch_any
from progan.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to get one data set."""

    about: str
    """Short description."""
    mirrors: tuple[str, ...] = ()
    """URLs of folders that contain the files, tried in turn."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 by file name. The source is the folder of these files, or the file itself if there is only one."""
    by_hand: str = ""
    """How to get it, if it is too large or its license too restrictive for an automatic download."""
    options: dict[str, Any] = field(default_factory=dict)
    """Settings of 'prepare' that differ from the defaults."""
    folder: str = ""
    """Folder in the cache, for data sets that share files; by default the name of the data set."""
    most: int | None = None
    """Number of images to use, from the first, if the paper did not use all; None for all."""
    attributes: tuple[str, ...] = ()
    """Possible names of the label file in which --labels ATTRIBUTE is looked up."""


_MNIST = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
_MNIST_MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist")
_CIFAR = ("https://www.cs.toronto.edu/~kriz",)
_LSUN = "http://dl.yf.io/lsun"
_SCENES = (
    *("bedroom", "bridge", "church_outdoor", "classroom", "conference_room", "dining_room", "kitchen", "living_room"),
    *("restaurant", "tower"),
)
_OBJECTS = (
    *("airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining_table", "dog"),
    *("horse", "motorbike", "person", "potted_plant", "sheep", "sofa", "train", "tv-monitor"),
)


def _lsun(category: str, archive: str) -> Recipe:
    about = f"LSUN {category.replace('_', ' ')}, 256x256 (paper, appendix G)"
    most = None if category in ("bedroom", "dog") else 100_000
    by_hand = f"download and unzip {_LSUN}/{archive}"
    return Recipe(about=about, by_hand=by_hand, options={"resolution": "256"}, most=most)


RECIPES = {
    "mnist": Recipe(about="handwritten digits, 60,000 + 10,000", mirrors=_MNIST_MIRRORS, files=_MNIST),
    "fashion_mnist": Recipe(
        about="pieces of clothing, 60,000 + 10,000",
        mirrors=(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        ),
        files={
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
    ),
    "mnist_rgb": Recipe(
        about="MNIST-1K: a digit in each of R, G and B, 1000 modes (paper, section 6.3 and appendix E)",
        mirrors=_MNIST_MIRRORS,
        files=_MNIST,
        folder="mnist",
        options={"resolution": "32"},
    ),
    "cifar10": Recipe(
        about="10 classes, 50,000 + 10,000 at 32x32",
        mirrors=_CIFAR,
        files={"cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"},
    ),
    "cifar100": Recipe(
        about="100 classes, 50,000 + 10,000 at 32x32",
        mirrors=_CIFAR,
        files={"cifar-100-python.tar.gz": "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"},
    ),
    "svhn": Recipe(
        about="house numbers, 73,257 + 26,032 at 32x32",
        mirrors=("http://ufldl.stanford.edu/housenumbers",),
        files={
            "train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
            "test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        },
    ),
    "celeba": Recipe(
        about="202,599 faces, the 128x128 around x 89, y 121 of the aligned images (paper, section 6.1)",
        by_hand="download img_align_celeba.zip from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (not for "
        "commercial use)",
        options={"crop": "25,57,128,128", "resolution": "128", "labels": "none"},
        attributes=("list_attr_celeba.txt", "list_attr_celeba.csv"),
    ),
    **{f"lsun_{name}": _lsun(name, f"scenes/{name}_train_lmdb.zip") for name in _SCENES},
    **{f"lsun_{name.replace('-', '_')}": _lsun(name, f"objects/{name}.zip") for name in _OBJECTS},
}
"""All data sets that 'progan prepare' accepts by name."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A known data set, ready to be prepared or inspected."""

    path: Path
    """Path of its files."""
    options: PrepareOptions
    """Settings of the user, completed by those of the recipe."""
    source: Source | None
    """Its images, or None if they are those of ``open_source(path)``."""


def is_known(name: str) -> bool:
    """Return whether this is the name of a recipe or of a data set on the Hub, rather than a path."""
    return name in RECIPES or is_hub_name(name)


def open_recipe(
    name: str,
    options: PrepareOptions = PrepareOptions(),  # noqa: B008, it is frozen
    *,
    given: Path | None = None,
    count: int = 1_000_000,
    seed: int = 0,
) -> Opened:
    """Find a data set by its name, or download it.

    Args:
        name: one of ``RECIPES``, or hf:OWNER/NAME for one on the Hugging Face Hub.
        options: settings; those that differ from the defaults override those of the recipe.
        given: local copy of its files, instead of a download.
        count: number of images to compose for mnist_rgb; ignored for other data sets.
        seed: seed of the choice of digits for mnist_rgb.

    Raises:
        DataError: if its files are not there and cannot be downloaded; the message says which, and where they belong.
    """
    skip = options.on_error == "skip"
    if is_hub_name(name):
        path, source = hub_source(name, options.choice)
        source = chosen(source, options.choice)
        return Opened(path=path, options=options, source=label(source, options.labels, skip=skip))
    recipe = RECIPES[name]
    plain = PrepareOptions()
    changed = {f.name for f in fields(options) if getattr(options, f.name) != getattr(plain, f.name)}
    options = replace(options, **{key: value for key, value in recipe.options.items() if key not in changed})
    path = given or _download(name, recipe)
    if recipe.attributes:
        options = replace(options, labels=_attribute(path, recipe.attributes, options.labels))
    source = None
    if name == "mnist_rgb":
        source = chosen(mnist_rgb_source(path, options.split, count=count, seed=seed), options.choice)
        source = label(source, options.labels, skip=skip)
    elif recipe.most:  # labels first: a file of labels may tell of all images
        source = open_source(path, options.choice, labels=options.labels, skip=skip).first(recipe.most)
    return Opened(path=path, options=options, source=source)


def prepare_recipe(
    name: str,
    store_path: Path,
    options: PrepareOptions = PrepareOptions(),  # noqa: B008, it is frozen
    *,
    given: Path | None = None,
    count: int = 1_000_000,
    seed: int = 0,
    **how: Any,
) -> Store:
    """Prepare a data set by its name: ``open_recipe``, then ``preparing.prepare`` with the arguments ``how``.

    Raises:
        DataError: as in these two functions.
    """
    found = open_recipe(name, options, given=given, count=count, seed=seed)
    return prepare(found.path, store_path, found.options, source=found.source, **how)


def _attribute(path: Path, names: Sequence[str], labels: str) -> str:
    """Return FILE:ATTRIBUTE for the name of an attribute, if the attribute file is in one of the usual places."""
    wanted = split_labels(labels)
    if wanted.keyword or wanted.file or ":" in wanted.column:
        return labels
    places = [folder / inner / name for folder in (path, path.parent) for inner in ("", "Anno") for name in names]
    places += [path.parent.parent / "Anno" / name for name in names]  # as in CelebA's own Img and Anno
    if file := next((place for place in places if place.is_file()), None):
        return f"{file}:{labels}"
    raise DataError(
        f"labels {labels!r}: no attribute file\n"
        f"  found: no {' or '.join(names)} in or next to {path}\n"
        f"  fix:   put it there, or use --labels FILE:{labels}"
    )


def _download(name: str, recipe: Recipe) -> Path:
    """Return the folder or file of a data set in the cache, downloaded unless it is there."""
    command = f"progan prepare {name} STORE --from PATH"
    if recipe.by_hand:
        raise DataError(f"{name}: is not downloaded automatically\n  fix:   {recipe.by_hand}, then run '{command}'")
    folder = f"data/{recipe.folder or name}"
    try:
        paths = [
            fetch_any(f"{folder}/{file}", [f"{mirror}/{file}" for mirror in recipe.mirrors], sha256)
            for file, sha256 in recipe.files.items()
        ]
    except DataError as error:
        raise DataError(f"{error}, or run '{command}' with a local copy of its files") from error
    return paths[0] if len(paths) == 1 else paths[0].parent
