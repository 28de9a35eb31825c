"""Picture formats: which file names and first bytes they have, what reads them, and what to do about the others.

It must not import torch, because the worker processes of 'prepare' load it.
"""

import contextlib
import importlib
import importlib.util

from PIL import Image

from progan.errors import DataError

COMMON = ("JPEG", "PNG", "WEBP", "GIF")
"""Pillow's formats that are tried before anything else."""
PLAIN = ("JPEG", "MPO", "WEBP")
"""Pillow's formats that need no correction."""
OTHERS = (
    "AVIF", "JPEG2000", "PPM", "BMP", "TIFF", "ICO", "CUR", "ICNS", "DDS", "PCX", "DCX", "SGI", "QOI", "PSD", "DIB",
    "SUN", "XPM", "XBM", "MSP", "BLP", "FTEX", "FLI", "IM", "PIXAR",
)  # fmt: skip
"""Pillow's other formats of pictures that start no program (as EPS does) and say what they are in their first bytes."""
EXTRA = "pip install 'progan[formats]'"
"""Command that installs the plug-ins."""
_PLUGINS = {"HEIC": "pillow_heif", "JPEG XL": "pillow_jxl"}
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"mif2")
_HEADS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"\xff\xd8\xff\xf7", "JPEG-LS"),
    (0, b"II\xbc", "JPEG XR"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"#?RGBE", "Radiance HDR"),
    (0, b"PF\n", "floating-point PFM"),
    (0, b"Pf\n", "floating-point PFM"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "EPS"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (40, b" EMF", "EMF"),
    (0, b"<svg", "SVG"),
    (0, b"gimp xcf", "XCF"),
    (0, b"SIMPLE  =", "FITS"),
    (128, b"DICM", "DICOM"),
    (0, b"FUJIFILMCCD-RAW", "camera raw"),
    (0, b"FOVb", "camera raw"),
    (0, b"\0MRM", "camera raw"),
    (0, b"IIRO", "camera raw"),
    (0, b"IIU\0", "camera raw"),
    (4, b"ftypcrx ", "camera raw"),
    (0, b"AT&TFORM", "DjVu"),
    (0, b"farbfeld", "farbfeld"),
)
_READ_HEADS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WebP"),
    (4, b"ftypavi", "AVIF"),
    (4, b"jP  \r\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"8BPS", "PSD"),
    (0, b"DDS ", "DDS"),
    (0, b"qoif", "QOI"),
    (0, b"icns", "ICNS"),
)
_BYTES_AS_RGB = {"WEBP": 2, "JPEG2000": 5}  # memory of decoders for a pixel, as a multiple of others
_DEVELOP = "develop it to JPEG or to TIFF with 8 or 16 bits"
_RENDER = "render it to PNG or JPEG in the wanted size"
_TONE = "it has no white; map its tones to PNG or JPEG with 8 or 16 bits"
_SAVE = "save it as PNG, JPEG or TIFF"
_ADVICE = {
    "HEIC": EXTRA,
    "JPEG XL": EXTRA,
    "camera raw": _DEVELOP,
    **dict.fromkeys(("OpenEXR", "Radiance HDR", "floating-point PFM"), _TONE),
    **dict.fromkeys(("PDF", "EPS", "WMF", "EMF", "SVG", "DjVu"), _RENDER),
}
_UNREADABLE = {
    "HEIC": "heic heics heif heifs hif",
    "JPEG XL": "jxl",
    "camera raw": "3fr arw bay cap cr2 cr3 crw dcr dng erf fff iiq k25 kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl "
    "sr2 srf srw x3f",
    "OpenEXR": "exr",
    "Radiance HDR": "hdr rgbe",
    "floating-point PFM": "pfm",
    "PDF": "pdf",
    "EPS": "eps ps ai",
    "WMF": "wmf",
    "EMF": "emf",
    "SVG": "svg svgz",
    "DjVu": "djvu djv",
    "JPEG-LS": "jls",
    "JPEG XR": "jxr wdp hdp",
    "XCF": "xcf",
    "PSB": "psb",
    "FITS": "fit fits fts",
    "DICOM": "dcm dicom",
    "farbfeld": "ff",
    "Krita or OpenRaster": "kra ora",
}
_NAMES = {f".{suffix}": name for name, suffixes in _UNREADABLE.items() for suffix in suffixes.split()}
_READABLE = (
    "apng avif avifs blp bmp bw cur dcx dds dib flc fli ftc ftu gif icb icns ico im j2c j2k jfif jp2 jpc jpe jpeg jpf "
    "jpg jpx mpo msp pam pbm pcx pgm pjp pjpeg png pnm ppm psd pxr qoi ras rgb rgba sgi tga tif tiff vda vst webp xbm "
    "xpm"
)


def _plugin_suffixes() -> frozenset[str]:
    """Return the suffixes of the formats whose plug-ins are installed."""
    found = {name for name, module in _PLUGINS.items() if importlib.util.find_spec(module)}
    return frozenset(suffix for suffix, name in _NAMES.items() if name in found)


READABLE_SUFFIXES = frozenset(f".{suffix}" for suffix in _READABLE.split()) | _plugin_suffixes()
"""File name extensions of pictures that can be read here, in lower case."""


def why_left_out(suffix: str) -> str | None:
    """Return what to do about a file that is a picture by its extension but cannot be read, or None for other files.

    >>> why_left_out(".NEF")
    'camera raw; develop it to JPEG or to TIFF with 8 or 16 bits'
    >>> why_left_out(".txt"), why_left_out(".jpg")
    (None, None)
    """
    name = _NAMES.get(suffix.lower())
    return None if name is None or suffix.lower() in READABLE_SUFFIXES else _advice(name)


def _advice(name: str) -> str:
    return f"{name}; {_ADVICE.get(name, _SAVE)}"


def named(head: bytes) -> str | None:
    """Return the name of the picture format that begins like this and is not among Pillow's, or None.

    >>> named(b"%PDF-1.7"), named(b"hello")
    ('PDF', None)
    """
    if (
        head[4:8] == b"ftyp"
        and (head[8:12] in _HEIF_BRANDS)
        and b"avif" not in head[8:64]
        and b"avis" not in head[8:64]
    ):
        return "HEIC"
    if head[:5] == b"<?xml" and b"<svg" in head:
        return "SVG"
    return next((name for at, begin, name in _HEADS if head[at : at + len(begin)] == begin), None)


def begun(head: bytes) -> str | None:
    """Return the name of the readable format that begins like this, or None.

    >>> begun(b"GIF89a"), begun(b"hello")
    ('GIF', None)
    """
    return next((name for at, begin, name in _READ_HEADS if head[at : at + len(begin)] == begin), None)


def plugin_formats(name: str) -> tuple[str, ...]:
    """Load the plug-in for a format, and return the formats that Pillow then has in addition; none if it is missing."""
    module = _PLUGINS.get(name)
    if module is None:
        return ()
    with contextlib.suppress(ImportError):
        plugin = importlib.import_module(module)
        if name == "HEIC":
            plugin.register_heif_opener()
        Image.init()
        return tuple(key for key in ("HEIF", "JXL") if key in Image.OPEN and (key == "HEIF") == (name == "HEIC"))
    return ()


def refusal(head: bytes) -> str | None:
    """Return the reason why a picture format is not read, with what to do, or None for unknown content."""
    name = named(head)
    return name and f"not an image in a supported format: {_advice(name)}"


def check_size(width: int, height: int, kind: str = "") -> None:
    """Refuse a picture of more pixels than Pillow opens, or than a decoder has room for in 1 GB.

    Raises:
        DataError: with its size and the limit.
    """
    limit = (Image.MAX_IMAGE_PIXELS or 0) // _BYTES_AS_RGB.get(kind, 1)
    if limit and width * height > limit:
        found = f"Image size ({width * height} pixels) exceeds limit of {limit} pixels"
        raise DataError(f"too large to be opened: {found}. Reduce its number of pixels")


def is_tga(head: bytes, size: int) -> bool:
    """Return whether a file begins with a consistent header of the format TGA, which has no magic number.

    Args:
        head: first 18 bytes or more.
        size: length of the file [bytes].
    """
    if len(head) < 18:
        return False
    map_type, kind, depth, flags = head[1], head[2], head[16], head[17]
    depths = {1: (8,), 9: (8,), 2: (16, 24, 32), 10: (16, 24, 32), 3: (8, 16), 11: (8, 16)}
    if depth not in depths.get(kind, ()) or map_type > 1 or (kind in (1, 9) and not map_type) or flags & 0xC0:
        return False
    if map_type and head[7] not in (16, 24, 32):
        return False
    if not map_type and any(head[3:8]):
        return False
    width, height = (int.from_bytes(head[at : at + 2], "little") for at in (12, 14))
    maps = int.from_bytes(head[5:7], "little") * (head[7] // 8)
    pixels = width * height * (depth // 8) if kind < 8 else -(-width * height // 128) * (1 + depth // 8)
    return bool(width and height) and size >= 18 + head[0] + maps + pixels
