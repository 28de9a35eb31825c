"""Which picture of a sample is used where a source has several: masks, thumbnails and other sizes beside it."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from progan.data.printing import counted, printable
from progan.errors import DataError

_BESIDE = (
    r"(?:seg(?:m|mentation)?(?:class|object)?|(?:seg(?:mentation)?[ _-]?)?masks?|seg(?:mentation)?[ _-]?maps?|"
    r"annotations?|labels?|gt(?:(?:fine|coarse)(?:_(?:color|instanceids|labelids|labeltrainids))?)?|"
    r"ground[ _-]?truth|parsing|trimaps?|alphas?|mattes?|depths?|normals?|"
    r"edges?|canny|sketch(?:es)?|pose|flow|conditioning(?:[ _-]images?)?|"
    r"(?:thumb(?:nail)?s?|previews?|small)(?:[ _-]?\d+(?:x\d+)?)?)"
)
_BESIDE_NAME = re.compile(_BESIDE, re.IGNORECASE)
_ENDING = re.compile(rf"(?P<key>.+?)[ _.-]+(?P<what>{_BESIDE})\d*", re.IGNORECASE)
_MAIN_ENDING = re.compile(r"(?P<key>.+)[ _.-](?:rgb|colou?r|images?|img|photo|picture|leftimg8bit)", re.IGNORECASE)
_SIZE_ENDING = re.compile(r"(?P<key>.+?)[ _.-]+(?P<size>\d{2,5})(?:x\d{2,5}|px)?", re.IGNORECASE)
_SIZE_FOLDER = re.compile(r"[^\d]*(?P<size>\d{2,5})(?:x\d{2,5}|px)?", re.IGNORECASE)
_MAIN = re.compile(r"image|img|picture|photo|rgb|color|target|full|original", re.IGNORECASE)
_FIRST = (".jpg", ".jpeg", ".webp", ".png")
"""Extensions in the order of preference, because masks are usually PNG files and photographs are not."""

Sizes = Callable[[int], tuple[int, int] | None]
"""Function that returns the height and width of the image at a position, or None if it cannot be opened."""


@dataclass(frozen=True)
class Picked:
    """The images that are used, one for each sample."""

    rows: list[int]
    """Their ascending positions."""
    notes: tuple[str, ...] = ()
    several: bool = False
    """Whether any sample has several pictures."""


def is_beside(name: str) -> bool:
    """Return whether a folder, column or ending of this name contains something that goes with a picture.

    >>> is_beside("Masks"), is_beside("thumbnails128x128"), is_beside("images"), is_beside("conditioning_image")
    (True, True, False, True)
    """
    return _BESIDE_NAME.fullmatch(name) is not None


def is_main(name: str) -> bool:
    """Return whether a folder, column or ending of this name usually contains the picture itself.

    >>> is_main("image"), is_main("JPEGImages"), is_main("mask"), is_main("conditioning_image")
    (True, True, False, False)
    """
    return _MAIN.search(name) is not None and not is_beside(name)


def pick_members(names: Sequence[str], *, sides: Collection[str], size: Sizes, member: str = "") -> Picked:
    """Choose one picture for each sample.

    Pictures belong to one sample if their names differ only in

    - the extension, or what follows a dot: 0.jpg and 0.seg.png, of which at least half of all samples have each;
    - an ending such as _mask or _thumb, beside one such as _rgb or none at all;
    - a folder such as masks/ in or beside one such as images/;
    - a number that is the size of the picture: 64/a.png and 128/a.png, or a_64.png and a_128.png.

    The one without such an ending is used, else the largest, the most frequent, the one with the shortest name.

    Args:
        names: paths inside the source, with forward slashes.
        sides: paths without extension of the label files beside the images, which show where the key of a sample ends.
        size: returns the size of an image, to confirm that a number is a size.
        member: the suffix, extension or folder of the pictures to use instead.

    Raises:
        DataError: if no sample has a picture of that member.
    """
    samples = _by_size(names, size) or _by_folder(names) or _by_ending(names, sides, size)
    if not samples:
        return Picked(list(range(len(names))))
    counts = Counter(what for parts in samples.values() for what in parts)
    wanted = [what for what in counts if _is_wanted(what, member)] if member else []
    if member and not wanted:
        raise DataError(
            f"--member {member}: no sample has such a picture\n"
            f"  found: {', '.join(f'{n} {printable(what)}' for what, n in counts.most_common(8))}\n"
            f"  fix:   use --member with one of these"
        )
    order = sorted(counts, key=lambda what: (what not in wanted, *_rank(what, counts)))
    kept: dict[int, str] = {}
    for parts in samples.values():
        best = min(parts, key=order.index)
        if not member or best in wanted:
            kept[parts[best]] = best
    within = {row for parts in samples.values() for row in parts.values()}
    alone = set() if member else set(range(len(names))) - within
    left = counts - Counter(kept.values())
    notes = (_note(Counter(kept.values()), left, len(names) - len(within) if member else 0),) if left else ()
    return Picked(sorted(alone | kept.keys()), notes, several=True)


def _note(used: Counter[str], left: Counter[str], others: int) -> str:
    more = f"; {counted(others, 'sample')} without it left out" if others else ""
    rest = ", ".join(f"{printable(what)!r} ({n})" for what, n in left.most_common(5))
    other = printable(next(iter(left.most_common(1)))[0])
    take = f"--member {other} takes {'it' if len(left) == 1 else 'the first of them'}"
    what = " and ".join(repr(printable(what)) for what, _ in used.most_common(2))
    return (
        f"of samples with several pictures, {what} {'is' if len(used) == 1 else 'are'} used; "
        f"{rest} {'is' if len(left) == 1 else 'are'} left out ({take}){more}"
    )


def _is_wanted(what: str, member: str) -> bool:
    """Return whether a member is the requested one, with or without its extension.

    >>> _is_wanted("seg.png", "seg"), _is_wanted("_mask.png", "mask"), _is_wanted(".jpg", "jpg"), _is_wanted("64", "64")
    (True, True, True, True)
    """
    bare, wanted = what.lower().lstrip("._- "), member.lower().lstrip("._- ")
    return wanted in (bare, bare.rpartition(".")[0])


def _rank(what: str, counts: Mapping[str, int]) -> tuple:
    """Return how a member compares with others, the best first."""
    stem, _, extension = what.rpartition(".")
    bare = stem.strip("._- ")
    size = _SIZE_FOLDER.fullmatch(bare or extension)
    return (
        is_beside(bare or extension),
        -int(size["size"]) if size else 0,
        not is_main(bare or extension),
        bool(bare),
        -counts[what],
        _FIRST.index(f".{extension.lower()}") if f".{extension.lower()}" in _FIRST else len(_FIRST),
        len(what),
        what,
    )


_Samples = dict[str, dict[str, int]]
"""Position of each picture, by sample and member, for the samples that have several."""


def _by_ending(names: Sequence[str], sides: Collection[str], size: Sizes) -> _Samples:
    """Return the samples whose pictures differ in what follows their common name."""
    stems = {stem_of(name) for name in names}
    known, pairs = stems | set(sides) | _dotted(stems), _pairs(stems)
    found: dict[str, dict[str, int]] = defaultdict(dict)
    sized: dict[str, dict[str, int]] = defaultdict(dict)
    for row, name in enumerate(names):
        stem = stem_of(name)
        key = stem if stem in sides else _key(stem, known, pairs)
        what = name[len(key) :].lstrip(".")
        found[stem if _word(what).isdigit() else key].setdefault(what, row)
        if match := _SIZE_ENDING.fullmatch(stem):
            sized[match["key"]].setdefault(match["size"], row)
    if sizes := _confirmed(sized, size, len(names)):
        return sizes
    counts = Counter(what for parts in found.values() for what in parts)
    steady = {what for what, n in counts.items() if 2 * n >= len(found)}
    samples = {key: _together(parts, steady) for key, parts in found.items() if len(parts) > 1}
    return {key: parts for key, parts in samples.items() if len(parts) > 1}


def _together(parts: Mapping[str, int], steady: Collection[str]) -> dict[str, int]:
    """Return the pictures of one name that are one sample: what most samples have, and what goes with the plain one."""
    beside = {what for what in parts if is_beside(_word(what))}
    plain = {what for what in parts if beside and (not _word(what) or is_main(_word(what)))}
    return {what: row for what, row in parts.items() if what in steady or what in beside or what in plain}


def _word(what: str) -> str:
    """Return what an ending says, without extension and separators: 'mask' for '_mask.png'."""
    return what.rpartition(".")[0].strip("._- ")


def _key(stem: str, known: Collection[str], pairs: Collection[str]) -> str:
    """Return the name of the sample that a picture belongs to."""
    folder, slash, base = stem.rpartition("/")
    for end in (i for i in range(len(base) - 1, 0, -1) if base[i] == "."):
        if (key := f"{folder}{slash}{base[:end]}") in known:
            return key
    match = _ENDING.fullmatch(base)
    key = f"{folder}{slash}{match['key']}" if match else stem
    if match is None and pairs and (match := _MAIN_ENDING.fullmatch(base)):
        key = f"{folder}{slash}{match['key']}"
        return key if key in pairs else stem
    return key if key in known or key in pairs else stem


def _dotted(stems: Collection[str]) -> set[str]:
    """Return the common names of pictures such as 0.left.png and 0.right.png, if all are such with the same words."""
    found: dict[str, set[str]] = defaultdict(set)
    for stem in stems:
        folder, slash, base = stem.rpartition("/")
        key, _, word = base.rpartition(".")
        if not key or not word.isalpha():
            return set()
        found[f"{folder}{slash}{key}"].add(word)
    words = set().union(*found.values())
    return set(found) if len(found) > 1 and len(words) > 1 and all(one == words for one in found.values()) else set()


def _pairs(stems: Iterable[str]) -> set[str]:
    """Return the common names of pictures such as 0_rgb.png and 0_depth.png, of which none has an ending alone."""
    main = _keys(stems, _MAIN_ENDING)
    return main & _keys(stems, _ENDING) if main else main


def _keys(stems: Iterable[str], pattern: re.Pattern[str]) -> set[str]:
    """Return the names without the endings of a pattern, of those that have one."""
    parts = (stem.rpartition("/") for stem in stems)
    return {f"{a}{b}{match['key']}" for a, b, base in parts if (match := pattern.fullmatch(base))}


def _by_folder(names: Sequence[str]) -> _Samples:
    """Return the samples with pictures of the same name in a folder such as masks and in the one beside it."""
    parents = [name.split("/")[:-1] for name in names]
    special = [i for i, parts in enumerate(parents) if any(map(is_beside, parts))]
    if not special:
        return {}
    places: dict[tuple[str, ...], int] = {}
    for i in sorted(set(range(len(names))) - set(special)):
        base = _bare(names[i])
        places.setdefault((*parents[i], base), i)
        for j in (j for j, part in enumerate(parents[i]) if is_main(part)):
            places.setdefault((*parents[i][:j], *parents[i][j + 1 :], base), i)
    found: _Samples = defaultdict(dict)
    partners: Counter[str] = Counter()
    for i in special:
        j = next(j for j, part in enumerate(parents[i]) if is_beside(part))
        row = places.get((*(part for part in parents[i] if not is_beside(part)), _bare(names[i])))
        if row is not None:
            main = "/".join(parents[row][j : j + 1]) or "."
            found[names[row]].setdefault(main, row)
            parts, what = found[names[row]], parents[i][j]
            again = sum(one == what or one.startswith(f"{what} (") for one in parts)
            parts[f"{what} ({again + 1})" if again else what] = i
            partners[parents[i][j]] += 1
    totals = Counter(next(filter(is_beside, parents[i])) for i in special)
    common = {folder for folder, n in partners.items() if 2 * n >= totals[folder]}
    return {key: parts for key, parts in found.items() if common & parts.keys()}


def _bare(name: str) -> str:
    base = PurePosixPath(name).stem
    match = _ENDING.fullmatch(base) or _MAIN_ENDING.fullmatch(base)
    return match["key"] if match else base


def _by_size(names: Sequence[str], size: Sizes) -> _Samples:
    """Return the samples with a picture of the same name in each of several folders that are named like its size."""
    depth = next(
        (i for i, parts in enumerate(zip(*(n.split("/")[:-1] for n in names), strict=False)) if len(set(parts)) > 1),
        None,
    )
    if depth is None or any(name.count("/") <= depth for name in names):
        return {}
    matches = {folder: _SIZE_FOLDER.fullmatch(folder) for folder in {name.split("/")[depth] for name in names}}
    if not all(matches.values()):
        return {}
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for row, name in enumerate(names):
        parts = name.split("/")
        match = matches[parts[depth]]
        found["/".join([*parts[:depth], *parts[depth + 1 :]]).rpartition(".")[0]].setdefault(
            match["size"] if match else "", row
        )
    return _confirmed(found, size, len(names))


def _confirmed(found: Mapping[str, Mapping[str, int]], size: Sizes, count: int) -> _Samples:
    """Return the samples with several pictures if most are such, and the first ones have the sizes that they say."""
    several = {key: dict(parts) for key, parts in found.items() if len(parts) > 1}
    if 2 * sum(map(len, several.values())) <= count:
        return {}
    for parts in list(several.values())[:2]:
        for said, row in parts.items():
            if int(said) not in (size(row) or ()):
                return {}
    return several


def stem_of(name: str) -> str:
    """Return a path without the last extension.

    >>> stem_of("a.b/c.d.png"), stem_of("a.b/c"), stem_of("a/.png")
    ('a.b/c.d', 'a.b/c', 'a/.png')
    """
    folder, slash, base = name.rpartition("/")
    start, dot, _ = base.rpartition(".")
    return f"{folder}{slash}{start if dot and start else base}"


def stems(names: Iterable[str]) -> set[str]:
    """Return all paths without their last extension."""
    return set(map(stem_of, names))
