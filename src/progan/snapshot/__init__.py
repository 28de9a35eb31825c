"""A trained network in one safetensors file, whose header contains everything required to use it."""

import json
import math
import reprlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from progan import draws
from progan.errors import CheckpointError, ConfigError
from progan.gans.base import Draw
from progan.snapshot.classes import class_number
from progan.snapshot.headers import Header, fitting
from progan.snapshot.network import MOST_PIXELS, Network
from progan.snapshot.outline import outlined
from progan.snapshot.tensors import read_header, read_into, write_tensors

FORMAT = "progan-snapshot-1"
BESIDE = ".discriminator"
"""Ending, before the extension, of the file of networks next to a snapshot (see discriminators.py)."""
Label = int | str | Sequence[float | str] | Tensor | np.ndarray
"""Class of all images or of each, by number or by name; or the attributes of all images or of each."""
WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True)
class Snapshot(Network):
    """A network at one moment of its training, which generates images and is saved to one file."""

    @property
    def latent_size(self) -> int:
        """Number of components of a latent; raises ConfigError like ``latent``."""
        return self.latent.size

    @property
    def levels(self) -> range:
        """Levels of the images that it can generate: more than one only if the network grows or is a pyramid."""
        if hasattr(self.sampler, "level_sizes"):
            return range(self.spec.levels - len(self.sampler.level_sizes), self.level + 1)  # type: ignore[arg-type]
        return range(getattr(self.sampler, "first_level", self.level), self.level + 1)

    def size(self, level: int) -> tuple[int, int]:
        """Return height and width of the images of one of the ``levels`` [pixels]."""
        if hasattr(self.sampler, "level_sizes"):
            return self.sampler.level_sizes[level - self.spec.levels]  # type: ignore[index]
        return self.spec.size(level)

    @property
    def conditional(self) -> bool:
        """Whether images have a class or attributes that can be chosen."""
        return self.config.takes_labels

    def to(self, device: torch.device | str) -> "Snapshot":
        """Return the same snapshot with its network moved to ``device``."""
        return replace(self, sampler=self.sampler.to(device))

    def level_of(self, resolution: int) -> int:
        """Return the level of images with this shorter side [pixels].

        Raises:
            ConfigError: if there is none.
        """
        for level in self.levels:
            if min(self.size(level)) == resolution:
                return level
        there = ", ".join(str(min(self.size(level))) for level in self.levels)
        raise ConfigError(f"resolution {resolution} is not supported by this generator; choose from {there}")

    def latents(self, seeds: Sequence[int]) -> Tensor:
        """Return one latent for each seed, float32 [N, latent_size]; a seed gives the same latent everywhere."""
        if len(seeds) == 0 or min(seeds) < 0 or max(seeds) >= 2**63:
            raise ConfigError(f"seeds must be at least one number from 0 to 2^63 - 1, got {list(seeds)[:4]}")
        return torch.cat([self.latents_at(seed, "generate", 0, 1) for seed in seeds])

    def latents_at(self, seed: int, stream: str, first: int, count: int) -> Tensor:
        """Return latents ``first`` ... ``first + count - 1`` of a stream of one seed, float32 [count, latent_size]."""

        def drawn(make: Callable[..., np.ndarray]) -> Draw:
            def draw(stream: str, *shape: int) -> Tensor:
                rows = make(seed, stream, first, count, math.prod(shape)).astype(np.float32)
                return torch.from_numpy(rows).unflatten(1, shape)

            return draw

        return self.latent.draw(drawn(draws.normal), drawn(draws.uniform), stream)

    def generate(
        self,
        z: Tensor | np.ndarray | None = None,
        *,
        seeds: Sequence[int] | None = None,
        label: Label | None = None,
        level: int | None = None,
        batch: int = 32,
    ) -> Tensor:
        """Generate images from latents or seeds.

        Args:
            z: latents [N, latent_size]; on a spherical prior, their length does not matter.
            seeds: one seed for each image, instead of ``z``.
            label: class of all images or of each, for a conditional generator: a number, or the name of a class (text
                that is no name is a number if no class is named by one). By default, seed s gives an image of class
                s mod classes, and latents give all classes in turn. For a generator of attributes: those of all images
                [K] or of each [N, K].
            level: level of the images (0 is 4 pixels); by default, the latest trained one.
            batch: number of images generated at once; fewer if they are so large that they would require gigabytes.

        Shape: -> uint8 [N, C, H, W] on the CPU.

        Raises:
            ConfigError: if latents, labels or level do not match the generator.
            CheckpointError: if an image is not finite.
        """
        return torch.cat(list(self.batches(z, seeds=seeds, label=label, level=level, batch=batch)))

    @torch.no_grad()
    def batches(
        self,
        z: Tensor | np.ndarray | None = None,
        *,
        seeds: Sequence[int] | None = None,
        label: Label | None = None,
        level: int | None = None,
        batch: int = 32,
    ) -> Iterator[Tensor]:
        """Yield the images of ``generate`` batch by batch, for more images than fit into memory."""
        if (z is None) == (seeds is None):
            raise ConfigError("pass either latents or seeds")
        latents = self.latents(seeds) if z is None and seeds is not None else torch.as_tensor(z).float()
        if latents.ndim != 2 or latents.shape[1] != self.latent_size or not len(latents):
            raise ConfigError(f"latents must be [N, {self.latent_size}] with N at least 1, got {list(latents.shape)}")
        if batch < 1:
            raise ConfigError(f"batch must be at least 1, got {batch}")
        if level is not None and level not in self.levels:
            first, last = (min(self.size(one)) for one in (self.levels[0], self.levels[-1]))
            there = f"{self.levels[0]} ... {self.level} ({first} ... {last} pixels)"
            raise ConfigError(f"level must be {there}, got {level}")
        labels = self._labels(label, range(len(latents)) if seeds is None else seeds)
        level = self.level if level is None else level
        fade = torch.tensor(self.alpha, device=self.device) if level == self.level and self.alpha < 1 else None
        batch = max(1, min(batch, MOST_PIXELS // math.prod(self.size(level))))
        for i in range(0, len(latents), batch):
            some = None if labels is None else labels[i : i + batch].to(self.device)
            yield self._images(self.sampler(latents[i : i + batch].to(self.device), level, fade, some))

    def _labels(self, label: Label | None, numbers: Sequence[int]) -> Tensor | None:
        """One class for each image; ``numbers`` (seeds or positions) decide if no label is given."""
        if not self.conditional:
            if label is not None:
                raise ConfigError("this generator was trained without labels; omit the label")
            return None
        if self.spec.attributes:
            return self._attributes(label, len(numbers))
        if label is None:
            return torch.tensor([number % self.spec.classes for number in numbers])
        one = isinstance(label, int | str)
        some = [class_number(name, self.classes, self.spec.classes) for name in ([label] if one else label)]
        if not one and len(some) != len(numbers):
            raise ConfigError(
                f"label must be one for all or one for each of {len(numbers)} images; got {len(some)} of them"
            )
        return torch.tensor(some * len(numbers) if one else some)

    def _attributes(self, label: Label | None, count: int) -> Tensor:
        wanted = f"this generator requires {self.spec.attributes} attributes, for all images [K] or for each [N, K]"
        if label is None:
            raise ConfigError(f"{wanted}; got none")
        try:
            values = torch.as_tensor(label).float()
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{wanted}; got {reprlib.repr(label)}, which is no number") from error
        if values.shape[-1:] != (self.spec.attributes,) or values.ndim > 2 or values.shape[:-1] not in ((), (count,)):
            raise ConfigError(f"{wanted}; got {list(values.shape)} for {count} images")
        return values.expand(count, self.spec.attributes)

    def save(self, path: Path | str) -> None:
        """Write one .safetensors file, whole or not at all.

        Raises:
            CheckpointError: if the file cannot be written.
        """
        write_tensors(Path(path), self.sampler.state_dict(), self.header())

    def save_pretrained(self, folder: Path | str) -> None:
        """Write ``model.safetensors`` and a readable ``config.json`` into a folder, as model hubs do."""
        self.save(Path(folder) / WEIGHTS)
        path = Path(folder) / CONFIG
        try:
            path.write_text(json.dumps(self.header(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be written ({error.strerror})") from error

    @classmethod
    def from_pretrained(cls, folder: Path | str, *, device: torch.device | str = "cpu") -> "Snapshot":
        """Read a folder of ``save_pretrained``."""
        return cls.load(Path(folder) / WEIGHTS, device=device)

    @classmethod
    def load(cls, path: Path | str, *, device: torch.device | str = "cpu") -> "Snapshot":
        """Read a snapshot file, a ``save_pretrained`` folder, or the latest snapshot of a run directory.

        Nothing is built or allocated before the file's header and the shapes of its tensors have been checked.

        Raises:
            CheckpointError: if there is no snapshot, or it is damaged or of a different program.
        """
        path = find(Path(path))
        header = Header.of(read_header(path, FORMAT)[0], path)
        with fitting(path), outlined():
            sampler = header.config.make_sampler(header.spec)
            if hasattr(sampler, "first_level"):
                header.spec.check_doubling()
        sampler = read_into(sampler, path, device=device)
        return cls(sampler, **vars(header))

    def header(self) -> dict[str, Any]:
        """Return the header of the file; equal runs have equal headers."""
        return {
            "format": FORMAT,
            "gan": self.gan,
            "config": asdict(self.config),
            "spec": self.spec.to_dict(),
            "level": self.level,
            "alpha": self.alpha,
            "kimg": self.kimg,
            "classes": list(self.classes),
        }


def snapshots_in(run: Path) -> list[Path]:
    """Return all snapshots of a run directory, in the order of training."""
    return [file for file in sorted((run / "snapshots").glob("*.safetensors")) if not file.stem.endswith(BESIDE)]


def find(path: Path) -> Path:
    """Return a snapshot file: ``path`` itself, the one in a shared folder, or the latest of a run directory."""
    if path.is_file():
        return path
    for candidate in (path / WEIGHTS, *reversed(snapshots_in(path))):
        if candidate.is_file():
            return candidate
    found = "is a folder without snapshots" if path.is_dir() else "does not exist"
    raise CheckpointError(f"{path}: {found}; expected a .safetensors file, a shared folder or a run directory")
