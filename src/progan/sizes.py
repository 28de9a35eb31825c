"""Heights and widths of images: how they are written, and which of them networks can grow to. It needs no torch."""

from progan.errors import ConfigError


def parse_size(text: str) -> tuple[int, int]:
    """Return height and width [pixels] from text such as ``64`` or ``64x128`` (height first).

    Raises:
        ConfigError: if the text is not a size.

    >>> parse_size("28"), parse_size("64x96")
    ((28, 28), (64, 96))
    """
    parts = text.lower().split("x")
    if not all(p.isdecimal() for p in parts) or len(parts) not in (1, 2):
        raise ConfigError(f"resolution must look like 64 or 64x128 (height x width), got {text!r}")
    height, width = int(parts[0]), int(parts[-1])
    if height < 1 or width < 1:
        raise ConfigError(f"resolution {height}x{width}: both sides must be at least 1")
    return height, width


def size_text(height: int, width: int) -> str:
    """Return a size as ``parse_size`` reads it, in its shortest form.

    >>> size_text(28, 28), size_text(64, 96)
    ('28', '64x96')
    """
    return str(height) if height == width else f"{height}x{width}"


def growable(height: int, width: int) -> bool:
    """Return whether networks can grow to a size: a power of two of at least 4, and a multiple of it.

    >>> growable(4, 4), growable(64, 192), growable(28, 28), growable(64, 96)
    (True, True, False, False)
    """
    short, long = min(height, width), max(height, width)
    return short >= 4 and not short & (short - 1) and not long % short


def check_growable(height: int, width: int) -> tuple[int, int]:
    """Return the same size if networks can grow to it (see ``growable``).

    Raises:
        ConfigError: if they cannot.
    """
    if growable(height, width):
        return height, width
    short = min(height, width)
    if short < 4 or short & (short - 1):
        lower = 1 << max(short.bit_length() - 1, 2)
        raise ConfigError(
            f"resolution {height}x{width}: the shorter side must be a power of two, at least 4; "
            f"try {lower} or {2 * lower}"
        )
    raise ConfigError(f"resolution {height}x{width}: the longer side must be a multiple of the shorter one")
