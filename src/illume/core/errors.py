"""The errors ILLUME raises for a person to read; it knows nothing of who shows them."""


class IllumeError(Exception):
    """What was wrong, where, and what to do about it."""


class UsageError(IllumeError):
    """A command was called in a way it does not understand."""


class ConfigError(UsageError):
    """A configuration names an unknown field or gives a wrong type or value."""


class DataError(IllumeError):
    """A record, an image or a data file cannot be used."""


class FormatError(IllumeError):
    """Messages or ids do not follow the sequence format."""


class CheckpointError(IllumeError):
    """A checkpoint or a folder could not be written or read, or belongs to another configuration."""


class ModelError(IllumeError):
    """A model folder, or a part of it, is not what its configuration says."""


class RequestError(IllumeError):
    """A request to a model cannot be served as it stands."""


class ContextError(RequestError):
    """A conversation with room for its answer is `needed` ids long, and the model takes `available`."""

    def __init__(self, message: str, needed: int, available: int) -> None:
        super().__init__(message)
        self.needed = needed
        self.available = available


class JudgeError(IllumeError):
    """A judge cannot be reached, does not let us in, or may spend no more; what it has said so far is kept."""
