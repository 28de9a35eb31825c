"""Command-line interface: one module per command, which only parses options, calls the library and prints."""

import difflib
import importlib
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progan.errors import ConfigError, DataError

if TYPE_CHECKING:
    from PIL import Image

COMMANDS = {
    "prepare": "convert a folder, an archive or a known data set into a store with all resolutions",
    "train": "train a GAN; run the same command again to resume",
    "family": "list the GANs: what each optimizes, needs, and is good for",
    "generate": "generate images with a trained generator",
    "encode": "encode images with a trained encoder, and show where in the space of codes they are",
    "reconstruct": "encode images and generate them again from their codes",
    "video": "render a video of a walk through latent space or of the training of a run",
    "analyse": "analyze what a generator has learned: find the real images nearest to its images",
    "metric": "evaluate generated images: SWD, MS-SSIM, FID, KID, Inception score, precision and recall, modes",
    "toy": "teach: small GANs on points of the plane, as films that show which modes each of them covers",
    "reproduce": "train and evaluate a table or figure of the paper, and compare the results with the paper's",
    "dedup": "find near-duplicates in a store and write a store without them",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 for success, 2 for a user error in one line on stderr.

    1 means that training blew up.
    """
    _print_everything()
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help"):
        print("usage: progan COMMAND ...\n\ncommands:")
        print("\n".join(f"  {name:<11} {text}" for name, text in COMMANDS.items()))
        print("\nRun 'progan COMMAND --help' for the options of a command.")
        return 0 if args else 2
    if args[0] == "--version":
        from progan.version import __version__

        print(f"progan {__version__}")
        return 0
    if args[0] not in COMMANDS:
        return _fail(f"unknown command {args[0]!r}; {nearest(args[0], COMMANDS)}")
    if path := next(filter(_is_path, args[1 : args.index("--") if "--" in args else None]), None):
        return _fail(f"{path}: names that begin with '-' look like options; write ./{path}")
    from progan.errors import BlowupError, ProganError

    try:
        return importlib.import_module(f"progan.cli.{args[0]}").main(args[1:])
    except ProganError as error:
        return _fail(str(error), code=1 if isinstance(error, BlowupError) else 2)
    except PermissionError as error:
        return _fail(f"{error.filename}: permission denied; run chmod u+rw (u+rwx for a folder) or ask the owner")
    except OSError as error:  # a full disk or a forbidden folder; commands give more detail where they can
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted", code=130)
    except RuntimeError as error:  # torch's, which is not imported for every command
        if type(error).__name__ != "OutOfMemoryError" and "can't allocate memory" not in str(error):
            raise
        return _fail("not enough memory; try a smaller --batch (--micro-batch for training) or --device cpu")


def _print_everything() -> None:
    """Let the console show what its encoding lacks as an escape: names of files and classes are in any script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not in a notebook
            stream.reconfigure(errors="backslashreplace")


def _is_path(arg: str) -> bool:
    """Whether what looks like an option is a file or folder."""
    return re.match(r"-[^-\d]", arg) is not None and arg != "-h" and Path(arg).exists()


def optional(metavar: str, default: str) -> Any:
    """Return how help shows an option that may be omitted: its value, and what happens by default."""
    import tyro

    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


def check_output(path: Path, *, folder: bool = False) -> None:
    """Check that a file can be written, or several in a folder, before hours are spent on what it will contain.

    Raises:
        DataError: if a folder has its name, or a file has that of one of its folders.
    """
    if not folder and path.is_dir():
        raise DataError(f"{path}: is a folder; name a file")
    places = [path, *path.absolute().parents][not folder :]
    above = next(place for place in places if place.exists())
    if not above.is_dir():
        raise DataError(f"{path}: cannot be written, because {above} is a file and not a folder; choose another name")


def write_png(picture: "Image.Image", path: Path, *, kept: bool = False) -> None:
    """Write a PNG file.

    Args:
        picture: image to write.
        path: file to create or to replace.
        kept: whether there are files written before, which the message shall mention.

    Raises:
        DataError: if it cannot be written.
    """
    from progan.images import save_png  # torch, which is not imported for every command

    try:
        save_png(picture, path)
    except OSError as error:
        before = "; images written before are kept" * kept
        raise DataError(f"{path}: cannot be written ({error.strerror or error}){before}") from error


def nearest(word: str, known: Sequence[str] | dict[str, str]) -> str:
    """Return a hint with the known names closest to a word, or with all of them if none is close."""
    close = difflib.get_close_matches(word, list(known), n=2, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else f"choose from {', '.join(known)}"


def parse_seeds(text: str) -> list[int]:
    """Parse a comma-separated list of seeds and ranges of seeds.

    >>> parse_seeds("3,7,20-22")
    [3, 7, 20, 21, 22]
    """
    seeds = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not match:
            raise ConfigError(f"seeds must look like 0-15 or 3,7,20-29; got {text!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ConfigError(f"seeds {part.strip()!r}: the range is empty; write the smaller number first")
        seeds += range(first, last + 1)
    return seeds


def _fail(message: str, code: int = 2) -> int:
    lines = [re.sub(r"^(\w+:)\s+", r"\1 ", line.strip()) for line in message.splitlines()]  # "fix:   type this"
    print(f"error: {'; '.join(lines)}", file=sys.stderr)
    return code
