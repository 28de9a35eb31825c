"""The command 'progan toy'."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from tqdm import tqdm

from progan.cli import nearest, optional, parse_seeds
from progan.draws import check_seed
from progan.errors import ConfigError, DataError
from progan.files import replacing
from progan.images import save_png
from progan.latent.video import check_film, save_film
from progan.toy.data import DISTRIBUTIONS
from progan.toy.drawing import film, panel, side_by_side
from progan.toy.recipes import BATCH, COMPARED, DEFAULT, KNOWN, RECIPES, STEPS, TRICKS
from progan.toy.training import Result, train

FPS, FRAMES = 20, 80
_HOLD_S = 2  # seconds for which a film shows the end
_NOISY_S = 60.0  # seconds between lines of progress where they are kept, as in a file
_LONGEST = max(map(len, KNOWN))


@dataclass(frozen=True)
class Toy:
    """Options of the command; its description is ``DESCRIPTION``."""

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")] = "ring"
    """Real points: one of the data sets above."""
    loss: Annotated[tuple[str, ...], tyro.conf.arg(metavar="LOSS ...")] = DEFAULT
    """Losses, cures and tricks to compare, from the lists above; all: every loss and cure."""
    tricks: bool = False
    """Compare the plain GAN with each of the tricks, instead of losses."""
    seeds: str = "0"
    """Seeds of the runs of each loss, such as 0-4. The film and the picture show the first one."""
    steps: int = STEPS
    """Number of steps of the generator."""
    out: Path = Path("toy")
    """Folder for the results, which are named after the data set; files of an earlier run are replaced."""
    film: Literal["mp4", "gif", "png", "none"] = "mp4"
    """Format of the films of the training; png: a folder of frames each."""
    frames: Annotated[int | None, optional("INT", "80")] = None
    """Number of frames of the film, at 20 per second; it shows the end for 2 more seconds."""

    def run(self) -> int:
        """Train with every loss and seed, print a table, and write the picture, the films and the numbers."""
        losses, seeds = self._check()
        distribution, first = DISTRIBUTIONS[self.data], {}
        rows: list[dict[str, Any]] = []
        print(
            f"{distribution.title}: {self.steps} step{'s' * (self.steps > 1)} of {BATCH} points, "
            f"seed{'s' * (len(seeds) > 1)} {self.seeds}"
        )
        print(_line("loss", distribution.part, "on them", "KL", "seconds"), flush=True)
        total = len(losses) * len(seeds) * self.steps
        every = _interval()
        with tqdm(total=total, unit=" steps", mininterval=every, maxinterval=every, leave=False) as bar:
            for name in losses:
                bar.set_description(name, refresh=False)
                results = [self._train(name, seed, bar.update, film=seed == seeds[0]) for seed in seeds]
                first[name] = results[0]
                rows += [_record(name, seed, result) for seed, result in zip(seeds, results, strict=True)]
                bar.write(_summary(name, results))
                sys.stdout.flush()
        self._write(first, rows)
        return 0

    def _train(self, name: str, seed: int, progress: Callable[[], object], *, film: bool) -> Result:
        """Train once; the moments of a film if requested, else at least the end for the picture."""
        moments = 0 if not film else 2 if self.film == "none" else FRAMES if self.frames is None else self.frames
        distribution = DISTRIBUTIONS[self.data]
        return train(KNOWN[name], distribution, seed=seed, steps=self.steps, moments=moments, progress=progress)

    def _write(self, results: dict[str, Result], rows: list[dict[str, Any]]) -> None:
        """Write everything and say where it is."""
        distribution = DISTRIBUTIONS[self.data]
        titles = {name: KNOWN[name].title for name in results}
        last = [panel(result.moments[-1], distribution, titles[name]) for name, result in results.items()]
        save_png(side_by_side(last), self.out / f"{self.data}.png")
        report = {"data": self.data, "steps": self.steps, "batch": BATCH, "runs": rows}
        with replacing(self.out / f"{self.data}.json") as file:
            file.write((json.dumps(report, indent=1) + "\n").encode())
        print(f"{self.out / self.data}.png: the end, side by side; {self.out / self.data}.json: all numbers")
        if self.film != "none":
            frames = film(list(results.values()), distribution, list(titles.values()), hold=_HOLD_S * FPS)
            count = len(results[next(iter(results))].moments) + _HOLD_S * FPS
            with tqdm(frames, self._film.name, count, leave=False, unit=" frames", mininterval=_interval()) as shown:
                save_film(shown, self._film, fps=FPS)
            print(f"{self._film}: the training, {count / FPS:.0f} s")

    @property
    def _film(self) -> Path:
        """File or folder of the film."""
        return self.out / (self.data if self.film == "png" else f"{self.data}.{self.film}")

    def _check(self) -> tuple[list[str], list[int]]:
        """Check the options before anything is trained; return the losses and the seeds."""
        if self.tricks and self.loss != DEFAULT:
            raise ConfigError("--tricks compares all tricks; omit it to choose some by --loss, or omit --loss")
        if self.data in KNOWN:
            raise ConfigError(f"{self.data} is a loss; use progan toy ring --loss {self.data}")
        if self.data not in DISTRIBUTIONS:
            raise ConfigError(f"unknown data set {self.data!r}; {nearest(self.data, list(DISTRIBUTIONS))}")
        losses = _losses(COMPARED if self.tricks else self.loss)
        seeds = parse_seeds(self.seeds)
        if len(set(seeds)) < len(seeds):
            raise ConfigError(f"--seeds {self.seeds} contains a seed twice")
        check_seed(max(seeds))
        for name, least in (("steps", 1), ("frames", 2)):
            if (value := getattr(self, name)) is not None and value < least:
                raise ConfigError(f"--{name} must be at least {least}, got {value}")
        if self.film == "none" and self.frames is not None:
            raise ConfigError(f"--frames {self.frames} requires a film; omit it or --film none")
        if self.out.exists() and not self.out.is_dir():
            raise DataError(f"{self.out}: is a file; --out requires a folder")
        if self.film in ("mp4", "gif") and find_spec("av") is None:
            raise ConfigError(
                f"--film {self.film} requires an encoder that is not installed\n"
                "  fix:   pip install 'progan[video]', or use --film png or --film none"
            )
        if self.film != "none":
            check_film(self._film, FPS)
        return losses, seeds


def _interval() -> float:
    """Seconds between updates of progress."""
    return 0.2 if sys.stderr.isatty() else _NOISY_S


def _losses(names: Sequence[str]) -> list[str]:
    """The names of losses, without repetition, or all of them for "all"."""
    if "all" in names and len(names) > 1:
        raise ConfigError("--loss all already includes every loss; omit the other names")
    for name in names:
        if name in DISTRIBUTIONS:
            raise ConfigError(f"{name} is a data set; write it first: progan toy {name} --loss ...")
        if name != "all" and name not in KNOWN:
            raise ConfigError(f"unknown loss {name!r}; {nearest(name, [*KNOWN, 'all'])}")
        if names.count(name) > 1:
            raise ConfigError(f"--loss contains {name} twice")
    if not names:
        raise ConfigError("--loss requires at least one name; omit it for a good choice")
    return list(RECIPES) if names[0] == "all" else list(names)


def _record(name: str, seed: int, result: Result) -> dict[str, Any]:
    """A run for JSON."""
    cover = result.coverage
    numbers = {"covered": cover.covered, "modes": len(cover.counts), "quality": cover.quality, "kl": cover.kl}
    return {"loss": name, "seed": seed, **numbers, "seconds": round(result.seconds, 2), "counts": list(cover.counts)}


def _summary(name: str, results: Sequence[Result]) -> str:
    """A line of the table: means over all runs, and the extremes of the modes covered."""
    covers = [result.coverage for result in results]
    covered, known = [c.covered for c in covers], [c.kl for c in covers if c.kl is not None]
    several = f"{np.mean(covered):.1f} ({min(covered)}-{max(covered)})" if len(covers) > 1 else str(covered[0])
    return _line(
        name,
        f"{several} of {len(covers[0].counts)}",
        f"{np.mean([c.quality for c in covers]):.0%}",
        f"{np.mean(known):.2f}" if known else "-",
        f"{np.mean([result.seconds for result in results]):.1f}",
    )


def _line(name: str, covered: str, quality: str, kl: str, seconds: str) -> str:
    return f"{name:<{_LONGEST}}  {covered:>18}  {quality:>8}  {kl:>6}  {seconds:>8}"


def _described() -> str:
    """The description of the command."""
    sets = [f"  {name:<{_LONGEST}}  {known.title}" for name, known in DISTRIBUTIONS.items()]
    losses = [f"  {name:<{_LONGEST}}  {recipe.about}" for name, recipe in RECIPES.items()]
    tricks = [f"  {name:<{_LONGEST}}  {recipe.about}" for name, recipe in TRICKS.items()]
    lists = ["data sets", *sets, "", "losses and cures", *losses, "", "tricks, added to non_saturating", *tricks]
    return "\n".join([*_INTRODUCTION, "", *lists, "", *_EXAMPLES])


_INTRODUCTION = (
    "Train small GANs on points of the plane, where everything can be seen: for teaching.",
    "",
    "Without options, a plain GAN and two others learn 8 Gaussians on a ring. The film shows them side "
    "by side: generated points (purple) over the scores of the discriminator (orange: real, blue: generated). A mode "
    "is green if it is covered, else gray. A GAN that keeps covering only some of the modes has collapsed.",
    "",
    "The table counts modes that at least one of 2,500 generated points reaches within 3 standard deviations. 'on "
    "them' is the share of points that do. KL compares the shares of the modes with equal ones; 0 is best.",
)


_EXAMPLES = (
    "examples",
    "  progan toy                                       a first lesson",
    "  progan toy grid --loss all --film none           every loss on 25 modes",
    "  progan toy ring --loss slow_d unrolled           mode collapse and one cure",
    "  progan toy ring --loss r1 wgan_gp --seeds 0-4    means over 5 runs of each",
    "  progan toy ring --tricks --film none             the plain GAN and each of the tricks",
)


def main(args: Sequence[str]) -> int:
    """Parse the arguments and run the command."""
    return tyro.cli(Toy, args=list(args), prog="progan toy", description=_described()).run()
