"""What goes wrong, as exceptions. The text of each is the sentence that pffs gave."""

from __future__ import annotations

import errno as _errno
from typing import Any


class PffsError(OSError):
    """pffs refused something, or could not do it.

    ``code`` is the name of an errno (``"ENOENT"``), ``status`` the HTTP status that
    stands for it; either may be missing. Since files are at the bottom of it all, it is
    an OSError, with ``errno`` set.
    """

    def __init__(self, message: str, *, code: str = "", status: int = 0) -> None:
        super().__init__(getattr(_errno, code, 0), message)
        self.message = message
        self.code = code
        self.status = status

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restore, (type(self), self.message, self.code, self.status))


def _restore(kind: type[PffsError], message: str, code: str, status: int) -> PffsError:
    return kind(message, code=code, status=status)


class InvalidRequest(PffsError):
    """A name, a number or an option that cannot be."""


class Unauthorized(PffsError):
    """No key, or one that is not known."""


class Forbidden(PffsError):
    """What belongs to another user, or is not to be done from here."""


class NotFound(PffsError, FileNotFoundError):
    """No such sandbox, run, file or template."""


class Conflict(PffsError):
    """It is there already, is busy, or is in a state that does not allow this."""


class MergeConflict(Conflict):
    """Files that both sides changed. Nothing was merged; ``report`` names each."""

    report: str = ""


class TooLarge(PffsError):
    """More than pffs takes at once."""


class ServerError(PffsError):
    """A machine that is dead, or something that failed on the other side."""


class Unsupported(PffsError):
    """What this pffs, or this way to reach it, does not have."""


class OutOfMemory(PffsError):
    """The host has no memory for it."""


class DeadlineExceeded(PffsError, TimeoutError):
    """A guest or a server did not answer in time."""


class NoSpace(PffsError):
    """No room on a disk."""


class ConnectionFailed(PffsError):
    """There is no pffs at that address, or it went away."""


_BY_STATUS: dict[int, type[PffsError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: Unsupported,
    409: Conflict,
    413: TooLarge,
    416: InvalidRequest,
    500: ServerError,
    501: Unsupported,
    503: OutOfMemory,
    504: DeadlineExceeded,
    507: NoSpace,
}

_STATUS_OF: dict[str, int] = {
    "EINVAL": 400,
    "ENAMETOOLONG": 400,
    "EACCES": 403,
    "EPERM": 403,
    "ENOENT": 404,
    "ENOTDIR": 404,
    "ESRCH": 404,
    "EBUSY": 409,
    "EEXIST": 409,
    "EAGAIN": 409,
    "ENOTEMPTY": 409,
    "EISDIR": 409,
    "EFBIG": 413,
    "ENOTSUP": 501,
    "EOPNOTSUPP": 501,
    "ENOMEM": 503,
    "ETIMEDOUT": 504,
    "ENOSPC": 507,
    "EDQUOT": 507,
}


def of_status(status: int, message: str, code: str = "") -> PffsError:
    """The exception for an answer of the HTTP socket."""
    kind = _BY_STATUS.get(status, InvalidRequest if status < 500 else ServerError)
    return kind(message, code=code, status=status)


def of_errno(error: OSError, message: str = "") -> PffsError:
    """The exception for what an operation on the mount failed with."""
    code = _errno.errorcode.get(error.errno or 0, "EIO")
    if code in ("ENOTCONN", "ECONNABORTED"):
        return ConnectionFailed("the pffs of this mount has ended", code=code)
    return of_status(_STATUS_OF.get(code, 500), message or str(error), code)
