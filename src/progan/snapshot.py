"""A trained generator in one safetensors file, with all that is needed to use it again in its header."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from progan import draws
from progan.errors import CheckpointError, ConfigError
from progan.files import replacing
from progan.gans.base import ImageSpec
from progan.images import to_uint8
from progan.registry import GANS

FORMAT = "progan-snapshot-1"
_MOST_PIXELS = 1 << 22  # of images made at once, four of 1024x1024: each takes some 300 MB in the full networks
WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True)
class Snapshot:
    """A generator at one moment of its training, ready to make images."""

    generator: nn.Module
    gan: str
    """Which GAN of GANS it belongs to."""
    config: Any
    """That GAN's settings."""
    spec: ImageSpec
    level: int
    """Index of the newest block."""
    alpha: float = 1.0
    """Weight of the newest block; below 1 in a fade."""
    kimg: float = 0.0
    """Thousands of real images shown so far."""
    classes: tuple[str, ...] = ()
    """Names of the classes, where it is conditional."""

    @property
    def latent_size(self) -> int:
        """Components of a latent.

        Raises:
            ConfigError: if it makes images of other images.
        """
        if not hasattr(self.generator, "latent_size"):
            raise ConfigError(f"a {self.gan} network makes images of other images, not of latents")
        return self.generator.latent_size  # type: ignore[return-value]

    @property
    def conditional(self) -> bool:
        """Whether it makes images of a wanted class."""
        return getattr(self.config, "conditional", False)

    @property
    def device(self) -> torch.device:
        """Where the generator is."""
        return next(self.generator.parameters()).device

    def to(self, device: torch.device | str) -> "Snapshot":
        """The same snapshot with its generator moved to ``device``."""
        return replace(self, generator=self.generator.to(device))

    def level_of(self, resolution: int) -> int:
        """The level that makes images of a shorter side [pixels].

        Raises:
            ConfigError: if there is none.
        """
        sides = [4 << level for level in range(self.level + 1)]
        if resolution not in sides:
            there = ", ".join(map(str, sides))
            raise ConfigError(f"resolution {resolution} is not one this generator makes; try {there}")
        return sides.index(resolution)

    def latents(self, seeds: Sequence[int]) -> Tensor:
        """One latent for each seed, float32 [N, latent_size]; a seed gives the same latent everywhere."""
        if len(seeds) == 0 or min(seeds) < 0 or max(seeds) >= 2**63:
            raise ConfigError(f"seeds must be at least one number from 0 to 2^63 - 1, got {list(seeds)[:4]}")
        rows = [draws.normal(seed, "generate", 0, 1, self.latent_size) for seed in seeds]
        return torch.from_numpy(np.concatenate(rows))

    def generate(
        self,
        z: Tensor | np.ndarray | None = None,
        *,
        seeds: Sequence[int] | None = None,
        label: int | Sequence[int] | None = None,
        level: int | None = None,
        batch: int = 32,
    ) -> Tensor:
        """Images of latents or of seeds.

        Args:
            z: latents [N, latent_size]; their length does not matter.
            seeds: instead of ``z``, one seed for each image.
            label: class number of all images or of each, for a conditional generator; when not given, seed s makes an
                image of class s mod classes, and latents take all classes in turn.
            level: make images of a smaller level (0 is 4 pixels); the newest trained one when not given.
            batch: images made at once; fewer if they are so large that they would take gigabytes.

        Shape: -> uint8 [N, C, H, W] on the CPU.

        Raises:
            ConfigError: if latents, labels or level do not fit the generator.
            CheckpointError: if an image is not finite.
        """
        return torch.cat(list(self.batches(z, seeds=seeds, label=label, level=level, batch=batch)))

    @torch.no_grad()
    def batches(
        self,
        z: Tensor | np.ndarray | None = None,
        *,
        seeds: Sequence[int] | None = None,
        label: int | Sequence[int] | None = None,
        level: int | None = None,
        batch: int = 32,
    ) -> Iterator[Tensor]:
        """The images of ``generate``, one batch after another, for more of them than memory holds."""
        if (z is None) == (seeds is None):
            raise ConfigError("give either latents or seeds")
        latents = self.latents(seeds) if z is None and seeds is not None else torch.as_tensor(z).float()
        if latents.ndim != 2 or latents.shape[1] != self.latent_size or not len(latents):
            raise ConfigError(f"latents must be [N, {self.latent_size}] with N at least 1, got {list(latents.shape)}")
        if batch < 1:
            raise ConfigError(f"batch must be at least 1, got {batch}")
        if level is not None and not 0 <= level <= self.level:
            raise ConfigError(f"level must be 0 ... {self.level} (4 ... {4 << self.level} pixels), got {level}")
        labels = self._labels(label, range(len(latents)) if seeds is None else seeds)
        level = self.level if level is None else level
        fade = torch.tensor(self.alpha, device=self.device) if level == self.level and self.alpha < 1 else None
        batch = max(1, min(batch, _MOST_PIXELS // math.prod(self.spec.size(level))))
        for i in range(0, len(latents), batch):
            some = None if labels is None else labels[i : i + batch].to(self.device)
            out = self.generator(latents[i : i + batch].to(self.device), level, fade, some)
            if not torch.isfinite(out).all():
                raise CheckpointError(f"the generator at {self.kimg:.1f} kimg makes images that are not finite (NaN)")
            yield to_uint8(out).cpu()

    def _labels(self, label: int | Sequence[int] | None, numbers: Sequence[int]) -> Tensor | None:
        """One class for each image; ``numbers`` (seeds, or places in a row) decide where no label is given."""
        if not self.conditional:
            if label is not None:
                raise ConfigError("this generator was trained without labels; leave the label away")
            return None
        if label is None:
            return torch.tensor([number % self.spec.classes for number in numbers])
        some = [label] * len(numbers) if isinstance(label, int) else [int(one) for one in label]
        if len(some) != len(numbers) or min(some) < 0 or max(some) >= self.spec.classes:
            raise ConfigError(
                f"label must be 0 ... {self.spec.classes - 1}, one for all or one for each of {len(numbers)} images; "
                f"got {label if isinstance(label, int) else f'{len(some)} of them: {some[:8]}'}"
            )
        return torch.tensor(some)

    def save(self, path: Path | str) -> None:
        """Write one .safetensors file, whole or not at all.

        Raises:
            CheckpointError: if the disk does not take it.
        """
        path = Path(path)
        data = save(
            {k: v.detach().cpu().contiguous() for k, v in self.generator.state_dict().items()},
            {"progan": json.dumps(self._header())},
        )
        try:
            with replacing(path) as file:
                file.write(data)
        except OSError as error:
            raise CheckpointError(
                f"{path}: cannot write the snapshot ({error.strerror or error}); what was made before is kept, "
                f"mend that and run the same command again"
            ) from error

    def save_pretrained(self, folder: Path | str) -> None:
        """Write ``model.safetensors`` and a readable ``config.json`` into a folder, as the model hubs have it."""
        self.save(Path(folder) / WEIGHTS)
        path = Path(folder) / CONFIG
        try:
            path.write_text(json.dumps(self._header(), indent=2) + "\n")
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be written ({error.strerror})") from error

    @classmethod
    def from_pretrained(cls, folder: Path | str, *, device: torch.device | str = "cpu") -> "Snapshot":
        """Read what ``save_pretrained`` wrote."""
        return cls.load(Path(folder) / WEIGHTS, device=device)

    @classmethod
    def load(cls, path: Path | str, *, device: torch.device | str = "cpu") -> "Snapshot":
        """Read a snapshot file, a ``save_pretrained`` folder, or the newest snapshot of a run directory.

        Raises:
            CheckpointError: if there is none, or it is damaged or of another program.
        """
        path, header, weights = find(Path(path)), None, {}
        try:
            with safe_open(path, "pt") as file:
                header = json.loads((file.metadata() or {}).get("progan", "null"))
                weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # not a dict
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: is not a whole safetensors file ({error})") from error
        except ValueError:  # not JSON
            pass
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise CheckpointError(f"{path}: was not written by progan ({FORMAT} wanted in its header)")
        try:
            config, spec = GANS[header["gan"]](**header["config"]), ImageSpec(**header["spec"])
            generator = config.make_generator(spec)
            rest: dict[str, Any] = {k: header[k] for k in ("level", "alpha", "kimg")}
            rest["classes"] = tuple(header["classes"])
        except (LookupError, TypeError, ValueError, ConfigError) as error:
            raise CheckpointError(
                f"{path}: its header has settings that this version does not know ({error})"
            ) from error
        try:
            generator.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(
                f"{path}: its weights do not fit its settings ({str(error).splitlines()[-1].strip()})"
            ) from error
        generator = generator.to(device, memory_format=torch.channels_last).requires_grad_(False).eval()  # type: ignore[call-overload]
        return cls(generator, header["gan"], config, spec, **rest)

    def _header(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "gan": self.gan,
            "config": asdict(self.config),
            "spec": asdict(self.spec),
            "level": self.level,
            "alpha": self.alpha,
            "kimg": self.kimg,
            "classes": list(self.classes),
        }


def find(path: Path) -> Path:
    """The snapshot file that ``path`` means: itself, the one in a shared folder, or the newest of a run directory."""
    if path.is_file():
        return path
    candidates = [path / WEIGHTS, *sorted((path / "snapshots").glob("*.safetensors"), reverse=True)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    there = "is a folder without snapshots" if path.is_dir() else "does not exist"
    raise CheckpointError(f"{path}: {there}; wanted a .safetensors file, a shared folder or a run directory")
