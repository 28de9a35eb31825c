"""The version of this package, which also says what wrote a result."""

__version__ = "0.1.0"
