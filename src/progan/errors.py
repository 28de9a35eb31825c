"""Errors that describe a user's mistake; the command line prints their message as one line and exits with code 2."""


class ProganError(Exception):
    """Error that the caller can fix; its message says what was expected, what was found and what to type."""


class ConfigError(ProganError):
    """Invalid setting or combination of settings."""


class DataError(ProganError):
    """Data source or store that is missing, empty, damaged or of an unexpected shape."""


class CheckpointError(ProganError):
    """Checkpoint or snapshot that cannot be read or does not match."""


class BlowupError(ProganError):
    """A run that no longer learns anything because its gradients are not finite; the command line exits with code 1."""
