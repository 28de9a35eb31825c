"""Sets of images to be measured: a store, anything 'prepare' reads, or a generator that makes them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from progan import draws
from progan.data.options import PrepareOptions
from progan.data.store import Store, cached
from progan.errors import CheckpointError, ConfigError, DataError
from progan.images import opaque
from progan.sizes import parse_size
from progan.snapshot import Snapshot, find

ENDLESS = 2**31
"""Count of a set that a generator makes."""


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images of one size in a fixed order that a seed decides; two sets with equal hashes have equal images."""

    name: str
    kind: str
    """'store', 'source', 'array' or 'snapshot'."""
    hash: str
    """SHA-256 of the content: of all images, or of the generator."""
    count: int
    """Number of images; ENDLESS if they are made."""
    height: int
    width: int
    channels: int
    """1 grey, 3 RGB."""
    resize: str = ""
    """What was done to bring them to this size; empty if they were of it."""
    read: Callable[[int, int], Tensor] = field(repr=False, compare=False)
    """(first, count) -> uint8 [count, C, H, W] of the next images in the set's order, on the CPU."""

    def about(self) -> dict[str, Any]:
        """What a result says of the set it was measured on."""
        facts = {"name": self.name, "kind": self.kind, "hash": self.hash[:16], "resize": self.resize}
        return facts | {"count": None if self.count == ENDLESS else self.count}

    def mirrored(self, seed: int) -> "ImageSet":
        """The same set with each image mirrored left to right with probability 1/2, as in training."""

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
    device: torch.device | str = "cpu",
    batch: int = 32,
    inputs: Path | None = None,
    direction: str | None = None,
) -> ImageSet:
    """The images of a store, of any source, or of a snapshot.

    A set is measured at its own size. Images of a source are never scaled unless ``resolution`` asks for it, because
    that changes every metric; a store offers its lower levels too.

    Args:
        path: store, folder, archive, snapshot file or run directory.
        resolution: size like 64 or 64x128 at which to measure; the set's own when not given.
        seed: of the order of the images, and of the latents.
        device: where a generator works.
        batch: images that it makes at once.
        inputs: images of the same kinds for a snapshot to translate or to reconstruct.
        direction: of the translation, where there are several.

    Raises:
        DataError, CheckpointError, ConfigError: if there are none, or not of one size that can be measured.
    """
    if _is_snapshot(path):
        snapshot = Snapshot.load(path, device=device)
        size = f"{snapshot.spec.height}x{snapshot.spec.width}"
        return of_snapshot(
            snapshot,
            name=str(path),
            hash=hashlib.sha256(find(path).read_bytes()).hexdigest(),
            resolution=resolution,
            seed=seed,
            batch=batch,
            inputs=None if inputs is None else open_images(inputs, resolution=size, seed=seed),
            direction=direction,
        )
    if inputs is not None:
        raise ConfigError(f"{path}: is no snapshot, so it makes nothing of {inputs}; leave out the inputs")
    try:
        store = cached(path, PrepareOptions(resolution=resolution or "auto"), progress=True)
    except DataError as error:
        if "--on-error" not in str(error):
            raise
        raise DataError(f"{error}\n  (an option of 'progan prepare {path} STORE'; then measure STORE)") from error
    images = of_store(store, name=str(path), resolution=resolution, seed=seed)
    if (path / "manifest.json").is_file():
        return images
    if images.resize and resolution is None:
        sizes = store.manifest["sizes"]
        own = f"--resolution {'x'.join(map(str, sizes['largest']))} leaves them as they are, " * (
            sizes["distinct"] == 1
        )
        raise DataError(
            f"{path}: its images cannot be measured as they are, because none is named and theirs is no power of two\n"
            f"  found: {images.resize.partition(' to ')[0]}\n"
            f"  fix:   {own}--resolution {store.height} scales the images of both sets, "
            f"or progan prepare {path} STORE --crop X,Y,W,H and measure STORE"
        )
    return replace(images, kind="source")


def of_store(store: Store, *, name: str = "", resolution: str | None = None, seed: int = 0) -> ImageSet:
    """The images of a store at one of its levels, in a random order that the seed decides.

    Raises:
        DataError: if it has no such level.
    """
    shorter = min(store.height, store.width) if resolution is None else min(parse_size(resolution))
    level = store.level(shorter)
    _, height, width, _ = level.shape
    if resolution is not None and parse_size(resolution) != (height, width):
        raise DataError(f"{name or store.path}: no images of {resolution}; found: {height}x{width} at that level")
    images = of_array(level, name=name or str(store.path), hash=store.hash, seed=seed)
    halved = "" if height == store.height else f"{store.height}x{store.width} halved to {height}x{width}"
    return replace(images, kind="store", resize=", ".join(filter(None, [_resize(store), halved])))


def of_array(images: np.ndarray, *, name: str, hash: str = "", seed: int = 0) -> ImageSet:
    """The images of an array uint8 [N, H, W, C], C 1, 3 or 4, in a random order that the seed decides.

    Args:
        images: may be a memory map; rows are read when they are needed.
        name: what reports call the set.
        hash: of the content, if it is known; else that of the bytes.
        seed: of the order.
    """
    count, height, width, channels = images.shape
    order = draws.permutation(seed, "metric/order", 0, count)

    def read(first: int, count: int) -> Tensor:
        return opaque(torch.from_numpy(images[order[first : first + count]]).permute(0, 3, 1, 2))

    return ImageSet(
        name=name,
        kind="array",
        hash=hash or hashlib.sha256(np.ascontiguousarray(images).data).hexdigest(),
        count=count,
        height=height,
        width=width,
        channels=min(channels, 3),
        read=read,
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
    labels: Callable[[int, int], Tensor | None] | None = None,
) -> ImageSet:
    """The images of a generator; a conditional one makes all classes in turn.

    Args:
        inputs: images to translate, for a network of images; or to reconstruct, for one that encodes and decodes.
        direction: of the translation, where there are several.
        labels: (first, count) -> labels of the images, which a generator of attributes needs.

    Raises:
        ConfigError: if it makes no images of that resolution, or needs other images or labels and has none.
    """
    if inputs is not None:
        return _of_images(snapshot, inputs, name=name, hash=hash, batch=batch, direction=direction)
    snapshot.latent  # noqa: B018  # says what is wanted, if it makes images of images
    if snapshot.conditional and snapshot.spec.attributes and labels is None:
        raise ConfigError(
            f"{name}: makes images of {snapshot.spec.attributes} attributes, which only its training data can tell; "
            "measure it while it trains, with --metrics"
        )
    sizes = {snapshot.spec.size(level): level for level in snapshot.levels}
    level = None
    if resolution is not None:
        if parse_size(resolution) not in sizes:
            there = ", ".join(f"{h}x{w}" for h, w in sizes)
            raise ConfigError(f"{name}: makes no images of {resolution}; it makes {there}")
        level = sizes[parse_size(resolution)]
    height, width = snapshot.spec.size(snapshot.level if level is None else level)

    def read(first: int, count: int) -> Tensor:
        start = (seed << 32) + first  # seeds of different measurements do not meet
        seeds = range(start, start + count)
        known = None if labels is None else labels(first, count)
        if snapshot.conditional and known is None and snapshot.spec.classes:
            known = torch.arange(first, first + count) % snapshot.spec.classes
        return opaque(snapshot.generate(seeds=seeds, label=known, level=level, batch=batch))

    return ImageSet(
        name=name,
        kind="snapshot",
        hash=hash,
        count=ENDLESS,
        height=height,
        width=width,
        channels=min(snapshot.spec.channels, 3),
        read=read,
    )


def _of_images(
    snapshot: Snapshot, inputs: ImageSet, *, name: str, hash: str, batch: int, direction: str | None
) -> ImageSet:
    """What a network makes of the images of a set."""

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
        read=lambda first, count: make(inputs.read(first, count)),
    )


def check_sizes(fake: ImageSet, real: ImageSet) -> None:
    """Raise ConfigError if two sets are not of one size and kind."""
    sizes = [f"{s.height}x{s.width} with {s.channels} channel{'s' * (s.channels > 1)}" for s in (fake, real)]
    if sizes[0] != sizes[1]:
        raise ConfigError(
            f"sets of different sizes cannot be compared: {fake.name} has {sizes[0]}, {real.name} {sizes[1]}; "
            f"prepare both alike with 'progan prepare', or say --resolution {min(fake.height, real.height)}"
        )


def _is_snapshot(path: Path) -> bool:
    if path.is_file():
        return path.suffix == ".safetensors"
    try:
        return find(path).is_file()
    except CheckpointError:
        return False


def _resize(store: Store) -> str:
    """How the images of a store came to its size, in words; empty if they had it, or were only padded."""
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
    seed: int = 0,
    device: torch.device | str = "cpu",
    batch: int = 32,
    inputs: Path | None = None,
    direction: str | None = None,
) -> tuple[ImageSet, ImageSet | None]:
    """Fakes and reals; of a real store the level that has the size of the fakes. Arguments as of ``open_images``.

    Raises:
        DataError, CheckpointError, ConfigError: if one cannot be opened, or they differ in size.
    """
    fakes = open_images(
        fake, resolution=resolution, seed=seed, device=device, batch=batch, inputs=inputs, direction=direction
    )
    if real is None:
        return fakes, None
    if resolution is None and ((real / "manifest.json").is_file() or _is_snapshot(real)):
        resolution = f"{fakes.height}x{fakes.width}"
    reals = open_images(real, resolution=resolution, seed=seed, device=device, batch=batch)
    check_sizes(fakes, reals)
    return fakes, reals
