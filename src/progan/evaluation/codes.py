"""Codes of the images of a set, their file, and how well they tell classes apart."""

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from progan.data.printing import some
from progan.errors import ConfigError, DataError
from progan.evaluation.sets import ENDLESS, ImageSet, Order, open_images
from progan.files import replacing
from progan.metrics.codes import error_rate, label_by_majority, label_by_peak, nearest
from progan.sizes import size_text
from progan.snapshot import Snapshot
from progan.version import __version__

FORMAT = "progan codes 1"
_AT_ONCE = 256  # images read at once
TITLES = {
    "error": "classification error",
    "cluster_error": "clustering error (label of the most probable image)",
    "cluster_error_majority": "clustering error (majority label)",
    "nn_accuracy": "1-nearest-neighbor accuracy",
}
"""What ``measure_codes`` measures, by name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Codes:
    """Codes of images, and what is known about each image."""

    values: np.ndarray
    """Codes, or features of the encoder, float32 [N, F]."""
    kind: Literal["codes", "features"] = "codes"
    index: np.ndarray
    """Position of each image in its store or source, int64 [N]."""
    names: np.ndarray | None = None
    """Path of each image inside its source, str [N]."""
    labels: np.ndarray | None = None
    """Number of the class of each image, int64 [N]; None without classes."""
    classes: tuple[str, ...] = ()
    """Names of the classes."""
    probabilities: np.ndarray | None = None
    """Probability of each category, float32 [N, K]; None if the codes have no categories."""
    categories: tuple[str, ...] = ()
    """Names of the categories if they are classes that the network was trained on; empty if they are clusters."""
    header: dict[str, Any]
    """Snapshot and images that the codes are of."""

    @property
    def predictions(self) -> np.ndarray | None:
        """The most probable category of each image, int64 [N]; None if the codes have no categories."""
        return None if self.probabilities is None else self.probabilities.argmax(1).astype(np.int64)

    @property
    def sizes(self) -> str:
        """Number of components of a code, in words."""
        return f"{self.values.shape[1]} component{'s' * (self.values.shape[1] > 1)}"

    def save(self, path: Path) -> None:
        """Write a .npz file, which ``numpy.load`` reads without pickle.

        Raises:
            DataError: if it cannot be written.
        """
        arrays = {self.kind: self.values, "index": self.index, "names": self.names, "labels": self.labels}
        arrays |= {"predictions": self.predictions, "probabilities": self.probabilities}
        arrays |= {name: np.array(texts) if (texts := getattr(self, name)) else None for name in _TEXTS}
        arrays["header"] = np.array(json.dumps(self.header))
        try:
            with replacing(path) as file:
                np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error

    @classmethod
    def load(cls, path: Path) -> "Codes":
        """Read a file of ``save``; nothing in it is executed.

        Raises:
            DataError: if there is no such file, or it is damaged.
        """
        wrong = f"{path}: is not a file of codes; expected the output of 'progan encode SNAPSHOT IMAGES {path.name}'"
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            header = json.loads(str(arrays.pop("header")))
            kind = header["kind"]
            values = arrays.pop(kind)
            arrays.pop("predictions", None)
            texts = {name: tuple(map(str, arrays.pop(name, ()))) for name in _TEXTS}
            codes = cls(values=values, kind=kind, header=header, **texts, **arrays)  # type: ignore[arg-type]
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
        except _DAMAGED as error:
            raise DataError(wrong) from error
        if not codes._sound():
            raise DataError(f"{path}: is damaged: its arrays do not belong together; run 'progan encode' again")
        return codes

    def _sound(self) -> bool:
        """Whether all arrays have the expected types and shapes."""
        n = len(self.values) if self.values.ndim == 2 and self.values.size else 0
        labels, shares, names = self.labels, self.probabilities, self.names
        sound = n > 0 and self.values.dtype == np.float32 and bool(np.isfinite(self.values).all())
        sound = sound and self.index.shape == (n,) and self.index.dtype == np.int64
        sound = sound and (names is None or names.shape == (n,))
        sound = sound and isinstance(self.header.get("snapshot", ""), str)
        sound = sound and isinstance(self.header.get("images", {}), dict)
        if labels is not None:
            sound = sound and labels.dtype == np.int64 and labels.shape == (n,)
            sound = sound and 0 <= labels.min() <= labels.max() < len(self.classes)
        if shares is not None:
            sound = sound and shares.dtype == np.float32 and shares.ndim == 2 and len(shares) == n
            sound = sound and shares.size > 0 and bool(np.isfinite(shares).all())
            sound = sound and len(self.categories) in (0, shares.shape[1])
        return sound


_TEXTS = ("classes", "categories")  # tuples of texts
_DAMAGED = (
    *(ValueError, EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error),
    *(RuntimeError, MemoryError),  # an encrypted or unknown kind of zip file, JSON without end, a shape without end
)
"""What numpy, zipfile and json raise for a file that is not one of codes, or is damaged."""


def open_to_encode(snapshot: Snapshot, path: Path, *, order: Order, seed: int) -> ImageSet:
    """Open images at the size of a network that encodes them.

    Raises:
        ConfigError: if the network has no encoder, or its images have another number of channels.
        DataError, CheckpointError: if there are no images, or they cannot be read.
    """
    snapshot.encoder  # noqa: B018  # raises the error of a network without one
    (height, width), channels = snapshot.spec.size(snapshot.level), snapshot.spec.channels
    images = open_images(path, resolution=f"{height}x{width}", order=order, seed=seed, alpha=channels == 4)
    if images.channels != channels:
        raise ConfigError(
            f"{path}: has images of {images.channels} channel{'s' * (images.channels > 1)}, but the network encodes "
            f"images of {channels}; use 'progan prepare SOURCE STORE --resolution {size_text(height, width)} "
            f"--channels {channels}' and pass STORE"
        )
    return images


def encode_images(
    snapshot: Snapshot,
    images: ImageSet,
    *,
    hash: str = "",
    count: int | None = None,
    features: bool = False,
    batch: int = 32,
    progress: bool = False,
) -> Codes:
    """Return the codes of the first images of a set.

    Args:
        snapshot: network with an encoder.
        images: images of the size and channels of the network.
        hash: SHA-256 of the snapshot's file, for the header.
        count: number of images; by default, all.
        features: whether to return features of the encoder instead of codes.
        batch: number of images encoded at once.
        progress: whether to show a progress bar.

    Raises:
        ConfigError: if there are fewer images, or the network does not encode such images.
    """
    if images.count == ENDLESS and count is None:
        raise ConfigError(f"{images.name}: generates any number of images; choose one with --count")
    if count is not None and not 1 <= count <= images.count:
        raise ConfigError(f"count must be 1 ... {images.count}, as many as {images.name} has images, got {count}")
    total, values, shares, labels = count or images.count, [], [], []
    with tqdm(total=total, unit=" images", desc="encode", disable=None if progress else True) as bar:
        for first in range(0, total, _AT_ONCE):
            pixels = images.read(first, min(_AT_ONCE, total - first))
            values.append((snapshot.features if features else snapshot.encode)(pixels, batch=batch).numpy())
            if snapshot.categories:
                codes = snapshot.encode(pixels, batch=batch).numpy() if features else values[-1]
                shares.append(codes[:, : snapshot.categories])
            labels.append(images.read_labels(first, len(pixels)) if images.classes else None)
            bar.update(len(pixels))
    index = np.arange(total) if images.rows is None else images.rows[:total]
    kind = "features" if features else "codes"
    header = {"format": FORMAT, "kind": kind, "snapshot": hash, "gan": snapshot.gan, "kimg": snapshot.kimg}
    header |= {"images": images.about(), "version": __version__}
    return Codes(
        values=np.concatenate(values),
        kind=kind,
        index=index.astype(np.int64),
        names=np.array([images.names[i] for i in index.tolist()]) if len(images.names) else None,
        labels=None if not images.classes else np.concatenate(labels).astype(np.int64),
        classes=images.classes,
        probabilities=np.concatenate(shares) if shares else None,
        categories=_categories(snapshot),
        header=header,
    )


def _categories(snapshot: Snapshot) -> tuple[str, ...]:
    """Names of the categories; none for clusters, which have no classes that could be asked for."""
    if not snapshot.categories or not snapshot.conditional:
        return ()
    return snapshot.classes or tuple(map(str, range(snapshot.categories)))


def measure_codes(
    test: Codes, train: Codes | None = None, *, name: str = "TEST", other: str = "TRAIN"
) -> dict[str, float]:
    """Return the errors of the categories of test images, and the accuracy of nearest neighbors, by name in TITLES.

    A value is missing if the codes do not have what it requires: an error of categories requires categories that are
    classes, clustering errors require clusters, and neighbors require training images.

    Args:
        test: codes of labeled images that the network was not trained on.
        train: codes of labeled images of the same snapshot, which label the clusters, and are the neighbors. Without
            them, the test images label the clusters.
        name: name of the test codes in messages.
        other: name of the training codes in messages.

    Raises:
        ConfigError: if the codes do not belong together, have images in common, or nothing can be measured.
    """
    known = test if train is None else train
    _check_alike(test, known, name, other)
    if train is not None:
        _check_apart(test, train, name, other)
    known_labels, values = _labels(known, known.classes, other, other), {}
    labels = _labels(test, known.classes, name, other)
    shares, known_shares = test.probabilities, known.probabilities
    if shares is not None and test.categories:
        values["error"] = error_rate(shares.argmax(1), _labels(test, test.categories, name, "the network"))
    elif shares is not None and known_shares is not None:
        clusters = shares.argmax(1)
        by_peak = label_by_peak(known_shares, known_labels)
        by_majority = label_by_majority(known_shares.argmax(1), known_labels, shares.shape[1])
        values["cluster_error"] = error_rate(by_peak[clusters], labels)
        values["cluster_error_majority"] = error_rate(by_majority[clusters], labels)
    if train is not None:
        values["nn_accuracy"] = 1 - error_rate(known_labels[nearest(test.values, train.values)], labels)
    if not values:
        raise ConfigError(
            f"{name}: its codes have no categories, so only neighbors can be measured; pass --train TRAIN.npz"
        )
    return values


def _check_alike(test: Codes, train: Codes, name: str, other: str) -> None:
    """Raise ConfigError unless both are codes of one network."""
    counts = ["no" if codes.probabilities is None else codes.probabilities.shape[1] for codes in (test, train)]
    facts = [f"{c.kind} of {c.sizes} and {count} categories" for c, count in zip((test, train), counts, strict=True)]
    if facts[0] != facts[1]:
        why = f"{name} has {facts[0]}, {other} {facts[1]}"
    elif test.header.get("snapshot") != train.header.get("snapshot"):
        why = f"{name} and {other} are of different snapshots"
    else:
        return
    raise ConfigError(f"{why}; encode both with the same snapshot and options")


def _check_apart(test: Codes, train: Codes, name: str, other: str) -> None:
    """Raise ConfigError if images are in both, and so are their own nearest neighbors."""
    a, b = (codes.header.get("images", {}) for codes in (test, train))
    if a.get("hash") is None or a.get("hash") != b.get("hash") or "snapshot" in (a.get("kind"), b.get("kind")):
        return
    if shared := int(np.isin(test.index, train.index).sum()):
        raise ConfigError(
            f"{shared} of the {len(test.index)} images of {name} are in {other} as well, so that they would be their "
            "own neighbors; encode images that the other file does not have, such as those of a store of test images"
        )


def _labels(codes: Codes, classes: Sequence[str], name: str, whose: str) -> np.ndarray:
    """The class of each image as a number in ``classes``, by the names of the classes.

    Raises:
        ConfigError: if there are no labels, or images of further classes.
    """
    if codes.labels is None:
        raise ConfigError(
            f"{name}: its images have no labels; give each class a subfolder, or use 'progan prepare --labels FILE', "
            "and encode them again"
        )
    used = [codes.classes[i] for i in np.unique(codes.labels)]
    if lacking := [text for text in used if text not in classes]:
        raise ConfigError(
            f"{name}: {whose} lacks its class{'es' * (len(lacking) > 1)} {some(lacking)}; found: {some(classes)}"
        )
    numbers = {text: number for number, text in enumerate(classes)}
    return np.array([numbers.get(text, -1) for text in codes.classes], np.int64)[codes.labels]
