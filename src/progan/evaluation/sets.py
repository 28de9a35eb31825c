"""Sets of images to be measured: a store, anything that 'progan prepare' reads, or a generator."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from progan import draws
from progan.data.options import PrepareOptions
from progan.data.preparing import cached
from progan.data.store import Store
from progan.errors import CheckpointError, ConfigError, DataError
from progan.images import opaque
from progan.sizes import parse_size
from progan.snapshot import Snapshot, find

ENDLESS = 2**31
"""Count of a set whose images a generator generates."""
Order = Literal["seed", "file"]
"""Order of a set's images: drawn by the seed, or that of the store or the files."""
Labels = Callable[[int, int], Tensor | None]
"""(first, count) -> labels of the images ``first`` ... ``first + count - 1`` of a generator."""


def _none(_classes: Sequence[str]) -> tuple[int, ...]:
    return ()


def _unknown(_first: int, _count: int) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images of one size in a fixed order; two sets with equal hashes contain equal images."""

    name: str
    kind: str
    """'store', 'source', 'array' or 'snapshot'."""
    hash: str
    """SHA-256 of the content: of all images, or of the generator."""
    count: int
    """Number of images; ENDLESS if they are generated."""
    height: int
    width: int
    channels: int
    """1 for grayscale, 3 for RGB, 4 for RGBA."""
    resize: str = ""
    """How the images were brought to this size; empty if they already had it."""
    order: Order = "seed"
    labels: str = ""
    """How the classes of generated images are chosen; empty if there are no classes."""
    classes: tuple[str, ...] = ()
    """Names of the classes of the images; empty without classes, or if they are unknown."""
    rows: np.ndarray | None = field(default=None, repr=False, compare=False)
    """Position of each image in the order of the store or the files, int64 [N]; None if images are generated."""
    names: Sequence[str] = field(default=(), repr=False, compare=False)
    """Path of each image inside its source, in the order of the store or the files; empty if unknown."""
    inputs: str = ""
    """Hash of the set that these images are translations or reconstructions of, in the same order; else empty."""
    read: Callable[[int, int], Tensor] = field(repr=False, compare=False)
    """(first, count) -> uint8 [count, C, H, W] of the next images in the set's order, on the CPU."""
    read_labels: Labels = field(default=_unknown, repr=False, compare=False)
    """(first, count) -> number of the class of each of these images, int64 [count]; None without ``classes``."""
    class_counts: Callable[[Sequence[str]], tuple[int, ...]] = field(default=_none, repr=False, compare=False)
    """Number of images of each of these classes; empty if unknown."""
    relabel: Callable[["ImageSet"], "ImageSet"] | None = field(default=None, repr=False, compare=False)
    """See ``with_classes_of``; None if there are no classes to choose."""

    def about(self) -> dict[str, Any]:
        """Facts about the set that a result contains."""
        facts = {"name": self.name, "kind": self.kind, "hash": self.hash[:16], "resize": self.resize}
        return facts | {
            "count": None if self.count == ENDLESS else self.count,
            "order": self.order,
            "labels": self.labels,
        }

    def with_classes_of(self, real: "ImageSet | None") -> "ImageSet":
        """The same set; a conditional generator draws each class as often as ``real`` contains it, if that is known."""
        return self if real is None or self.relabel is None else self.relabel(real)

    def mirrored(self, seed: int) -> "ImageSet":
        """The same set with each image mirrored horizontally with probability 1/2, as in training."""

        def read(first: int, count: int) -> Tensor:
            images = self.read(first, count)
            flip = torch.from_numpy(draws.uniform(seed, "metric/mirror", first, count, 1)[:, 0] < 0.5)
            return torch.where(flip[:, None, None, None], images.flip(3), images)

        return replace(self, read=read)


def open_images(
    path: Path,
    *,
    resolution: str | None = None,
    seed: int = 0,
    order: Order = "seed",
    device: torch.device | str = "cpu",
    batch: int = 32,
    inputs: Path | None = None,
    direction: str | None = None,
    alpha: bool = False,
) -> ImageSet:
    """Open the images of a store, of any source, or of a snapshot.

    A set is measured at its own size. Images of a source are scaled only if ``resolution`` is given, because scaling
    changes every metric. A store also provides its lower levels.

    Args:
        path: store, folder, archive, snapshot file or run directory.
        resolution: size such as 64 or 64x128 at which to measure; by default, the set's own.
        seed: seed of the order of the images, and of latents and classes.
        order: "seed" for a random order, "file" for the order of the store or the files.
        device: device of a generator.
        batch: images generated at once.
        inputs: images, of the same kinds, that a snapshot translates or reconstructs.
        direction: direction of the translation, if the network supports several.
        alpha: whether to keep the alpha channel of RGBA images, instead of compositing them over white.

    Raises:
        DataError, CheckpointError, ConfigError: if there are no images, or not of one size that can be measured.
    """
    if _is_snapshot(path):
        snapshot = Snapshot.load(path, device=device)
        size = f"{snapshot.spec.height}x{snapshot.spec.width}"
        own = {"resolution": size, "seed": seed, "order": order, "alpha": snapshot.spec.channels == 4}
        return of_snapshot(
            snapshot,
            name=str(path),
            hash=hashlib.sha256(find(path).read_bytes()).hexdigest(),
            resolution=resolution,
            seed=seed,
            batch=batch,
            inputs=None if inputs is None else open_images(inputs, **own),
            direction=direction,
        )
    if inputs is not None:
        raise ConfigError(f"{path}: is not a snapshot, so it cannot use the images of {inputs}; omit the inputs")
    try:
        store = cached(path, PrepareOptions(resolution=resolution or "auto"), progress=True)
    except DataError as error:
        if "--on-error" not in str(error):
            raise
        raise DataError(f"{error}\n  (an option of 'progan prepare {path} STORE'; then measure STORE)") from error
    images = of_store(store, name=str(path), resolution=resolution, seed=seed, order=order, alpha=alpha)
    if (path / "manifest.json").is_file():
        return images
    if images.resize and resolution is None:
        sizes = store.manifest["sizes"]
        own = f"--resolution {'x'.join(map(str, sizes['largest']))} keeps their size, " * (sizes["distinct"] == 1)
        raise DataError(
            f"{path}: its images cannot be measured at their own size, which is not a power of two, "
            f"unless --resolution is given\n"
            f"  found: {images.resize.partition(' to ')[0]}\n"
            f"  fix:   {own}--resolution {store.height} scales the images of both sets, "
            f"or progan prepare {path} STORE --crop X,Y,W,H and measure STORE"
        )
    return replace(images, kind="source")


def of_store(
    store: Store,
    *,
    name: str = "",
    resolution: str | None = None,
    seed: int = 0,
    order: Order = "seed",
    alpha: bool = False,
) -> ImageSet:
    """Return the images of a store at one of its levels; arguments are those of ``open_images``.

    Raises:
        DataError: if the store has no such level.
    """
    shorter = min(store.height, store.width) if resolution is None else min(parse_size(resolution))
    level = store.level(shorter)
    _, height, width, _ = level.shape
    if resolution is not None and parse_size(resolution) != (height, width):
        raise DataError(f"{name or store.path}: no images of {resolution}; found: {height}x{width} at that level")
    facts = {"name": name or str(store.path), "hash": store.hash, "seed": seed, "order": order, "alpha": alpha}
    images = of_array(level, labels=store.labels(), classes=store.classes, **facts)
    halved = "" if height == store.height else f"{store.height}x{store.width} halved to {height}x{width}"
    resize = ", ".join(filter(None, [_resize(store), halved]))
    return replace(images, kind="store", resize=resize, names=store.names, class_counts=partial(_class_counts, store))


def of_array(
    images: np.ndarray,
    *,
    name: str,
    hash: str = "",
    seed: int = 0,
    order: Order = "seed",
    labels: np.ndarray | None = None,
    classes: tuple[str, ...] = (),
    alpha: bool = False,
) -> ImageSet:
    """Return the images of an array uint8 [N, H, W, C] with C 1, 3 or 4.

    Args:
        images: may be a memory map; rows are read when they are needed.
        name: name of the set in reports.
        hash: hash of the content, if it is known; by default, that of the bytes.
        seed: seed of the order.
        order: "seed" for a random order drawn by the seed, "file" for the order of the array.
        labels: number of the class of each image, int64 [N].
        classes: names of these classes.
        alpha: whether to keep the alpha channel of RGBA images, instead of compositing them over white.

    Raises:
        ConfigError: if the seed is not 0 ... 2^63 - 1.
    """
    draws.check_seed(seed)
    count, height, width, channels = images.shape
    rows = np.arange(count) if order == "file" else draws.permutation(seed, "metric/order", 0, count)

    def read(first: int, count: int) -> Tensor:
        some = torch.from_numpy(images[rows[first : first + count]]).permute(0, 3, 1, 2)
        return some if alpha else opaque(some)

    def read_labels(first: int, count: int) -> Tensor | None:
        return None if labels is None else torch.from_numpy(labels[rows[first : first + count]])

    return ImageSet(
        name=name,
        kind="array",
        hash=hash or hashlib.sha256(np.ascontiguousarray(images).data).hexdigest(),
        count=count,
        height=height,
        width=width,
        channels=channels if alpha else min(channels, 3),
        order=order,
        rows=rows,
        read=read,
        classes=() if labels is None else classes,
        read_labels=read_labels,
    )


def of_snapshot(
    snapshot: Snapshot,
    *,
    name: str,
    hash: str = "",
    resolution: str | None = None,
    seed: int = 0,
    batch: int = 32,
    inputs: ImageSet | None = None,
    direction: str | None = None,
    labels: Labels | None = None,
    like: ImageSet | None = None,
) -> ImageSet:
    """Return the images of a generator; latent and class of image i are functions of the seed and of i.

    Args:
        inputs: images to translate, for a network of images; or to reconstruct, for one that encodes and decodes.
        direction: direction of the translation, if the network supports several.
        labels: labels of the images, which a generator of attributes requires. By default, a conditional generator's
            classes are drawn independently, with the frequencies in ``like``.
        like: the real images; without them, or if their classes are different ones, all classes are equally frequent.

    Raises:
        ConfigError: if it cannot generate images of that resolution, or lacks images or labels that it requires, or
            if the seed is not 0 ... 2^63 - 1.
    """
    draws.check_seed(seed)
    if inputs is not None:
        return _of_images(snapshot, inputs, name=name, hash=hash, batch=batch, direction=direction)
    snapshot.latent  # noqa: B018  # raises the error of a network of images
    level = _level(snapshot, name, resolution)
    height, width = snapshot.size(snapshot.level if level is None else level)
    chosen, how = _labels(snapshot, name, seed, labels, like)

    def read(first: int, count: int) -> Tensor:
        z = snapshot.latents_at(seed, "metric/latent", first, count)
        return opaque(snapshot.generate(z, label=chosen(first, count), level=level, batch=batch))

    again = partial(of_snapshot, snapshot, name=name, hash=hash, resolution=resolution, seed=seed, batch=batch)
    return ImageSet(
        name=name,
        kind="snapshot",
        hash=hash,
        count=ENDLESS,
        height=height,
        width=width,
        channels=min(snapshot.spec.channels, 3),
        labels=how,
        read=read,
        classes=_classes(snapshot),
        read_labels=chosen,
        relabel=(lambda real: again(like=real)) if how and labels is None else None,
    )


def _level(snapshot: Snapshot, name: str, resolution: str | None) -> int | None:
    """The level of a resolution; None for the latest one, in whatever fade it is."""
    if resolution is None:
        return None
    sizes = {snapshot.size(level): level for level in snapshot.levels}
    if parse_size(resolution) not in sizes:
        supported = ", ".join(f"{h}x{w}" for h, w in sizes)
        raise ConfigError(f"{name}: cannot generate images of {resolution}; supported: {supported}")
    return sizes[parse_size(resolution)]


def _labels(
    snapshot: Snapshot, name: str, seed: int, labels: Labels | None, like: ImageSet | None
) -> tuple[Labels, str]:
    """Labels of a generator's images, and how they are chosen, in words."""
    if not snapshot.conditional:
        return labels or (lambda first, count: None), ""
    if labels is not None:
        return labels, "given"
    if snapshot.spec.attributes:
        raise ConfigError(
            f"{name}: generates images of {snapshot.spec.attributes} attributes, which only its training data has; "
            "measure it during training, with --metrics"
        )
    counts = like.class_counts(snapshot.classes) if like is not None and snapshot.classes else ()
    known = like is not None and sum(counts) > 0
    edges = np.cumsum(counts if known else [1] * snapshot.spec.classes)

    def draw(first: int, count: int) -> Tensor:
        share = draws.uniform(seed, "metric/class", first, count, 1)[:, 0]
        return torch.from_numpy(np.searchsorted(edges, share * edges[-1], side="right"))

    return draw, f"as in {like.hash[:16]}" if known else "uniform"  # type: ignore[union-attr]  # known


def _classes(snapshot: Snapshot) -> tuple[str, ...]:
    """Names of the classes that a generator can be asked for; their numbers if the names are unknown."""
    if not snapshot.conditional or snapshot.spec.attributes:
        return ()
    return snapshot.classes or tuple(map(str, range(snapshot.spec.classes)))


def _class_counts(store: Store, classes: Sequence[str]) -> tuple[int, ...]:
    """Number of images of each class, from the column of the store that contains these classes."""
    for column in map(store.column, store.columns):
        if set(classes) <= set(column.classes):
            counts = np.bincount(column.values, minlength=len(column.classes))
            return tuple(int(counts[column.classes.index(name)]) for name in classes)
    return ()


def _of_images(
    snapshot: Snapshot, inputs: ImageSet, *, name: str, hash: str, batch: int, direction: str | None
) -> ImageSet:
    """The images of a set, translated or reconstructed by a network."""

    def make(images: Tensor) -> Tensor:
        if snapshot.sampler.latent is None:
            return opaque(snapshot.translate(images, direction=direction, batch=batch))
        return opaque(snapshot.reconstruct(images, batch=batch))

    _, channels, height, width = make(inputs.read(0, 1)).shape
    return ImageSet(
        name=f"{name} of {inputs.name}",
        kind="snapshot",
        hash=hash and hashlib.sha256(f"{hash} {inputs.hash} {direction}".encode()).hexdigest(),
        count=inputs.count,
        height=height,
        width=width,
        channels=channels,
        order=inputs.order,
        inputs=inputs.hash,
        read=lambda first, count: make(inputs.read(first, count)),
    )


def check_sizes(fake: ImageSet, real: ImageSet) -> None:
    """Raise ConfigError if two sets differ in size or channels."""
    sizes = [f"{s.height}x{s.width} with {s.channels} channel{'s' * (s.channels > 1)}" for s in (fake, real)]
    if sizes[0] != sizes[1]:
        raise ConfigError(
            f"sets of different sizes cannot be compared: {fake.name} has {sizes[0]}, {real.name} {sizes[1]}; "
            f"prepare both with the same options of 'progan prepare', or pass --resolution "
            f"{min(fake.height, real.height)}"
        )


def _is_snapshot(path: Path) -> bool:
    if path.is_file():
        return path.suffix == ".safetensors"
    try:
        return find(path).is_file()
    except CheckpointError:
        return False


def _resize(store: Store) -> str:
    """How the images of a store were brought to its size; empty if they had it, or were only padded."""
    sizes, options = store.manifest.get("sizes", {}), store.manifest.get("options", {})
    small, large = sizes.get("smallest"), sizes.get("largest")
    size = [store.height, store.width]
    if small == large == size or not small or not large:
        return ""
    sources = "x".join(map(str, small)) + ("" if small == large else f" ... {'x'.join(map(str, large))}")
    how = ", ".join(str(options[key]) for key in ("crop", "fit", "filter") if options.get(key) not in (None, "none"))
    padded = large[0] <= size[0] and large[1] <= size[1] and not options.get("upscale")
    return "" if padded else f"{sources} to {size[0]}x{size[1]} ({how})"


def open_pair(
    fake: Path,
    real: Path | None,
    *,
    resolution: str | None = None,
    inputs: Path | None = None,
    direction: str | None = None,
    **options: Any,
) -> tuple[ImageSet, ImageSet | None]:
    """Open generated and real images; of a real store, the level that has the size of the generated images.

    Arguments are those of ``open_images``. A conditional generator draws classes as often as the real images have them.

    Raises:
        DataError, CheckpointError, ConfigError: if a set cannot be opened, or the two differ in size.
    """
    fakes = open_images(fake, resolution=resolution, inputs=inputs, direction=direction, **options)
    if real is None:
        return fakes, None
    if resolution is None and ((real / "manifest.json").is_file() or _is_snapshot(real)):
        resolution = f"{fakes.height}x{fakes.width}"
    reals = open_images(real, resolution=resolution, **options)
    check_sizes(fakes, reals)
    return fakes.with_classes_of(reals), reals
