"""Errors that a user can mend, each with the exit code the command line ends with.

Codes follow sysexits.h: 64 bad configuration, 65 bad data, 70 non-finite training, 74 input/output,
75 interrupted (run the same command again to go on).  The message must name the file or key, the value
found, what was expected, and the remedy: it is printed as it is, without a traceback.
"""


class UserError(Exception):
    """Base of every error that is the user's to mend; never shown as a traceback."""

    exit_code = 64


class ConfigError(UserError, ValueError):
    """A key, value or combination in the configuration or on the command line."""

    exit_code = 64


class DataError(UserError, ValueError):
    """A missing, unreadable or inconsistent data file."""

    exit_code = 65


class BadSample(DataError):
    """One file of one sample cannot be used; ``path`` names it."""

    def __init__(self, path: object, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = str(path)
        self.problem = problem

    def __reduce__(self) -> tuple[type, tuple[str, str]]:  # a worker process sends it to the trainer
        return type(self), (self.path, self.problem)


class NonFiniteError(UserError):
    """Too many consecutive steps with a non-finite loss or gradient."""

    exit_code = 70


class StorageError(UserError, OSError):
    """The run directory or a checkpoint cannot be written, read or locked."""

    exit_code = 74


class Interrupted(UserError):
    """A signal or the time limit ended the run after a commit; resume to go on."""

    exit_code = 75
