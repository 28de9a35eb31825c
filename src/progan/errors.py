"""Errors that name a user's mistake; the command line prints their message as one line and exits with code 2."""


class ProganError(Exception):
    """Anything wrong that the caller can mend: says what was wanted, what is there and what to type."""


class ConfigError(ProganError):
    """A setting that cannot be used, alone or together with another one."""


class DataError(ProganError):
    """A data source or a store that is missing, empty, broken or of another shape than wanted."""


class CheckpointError(ProganError):
    """A checkpoint or a snapshot that cannot be read or does not fit."""


class BlowupError(ProganError):
    """A run that no longer learns anything because its gradients are not finite; the command line exits with code 1."""
