"""Where pffs is: what a program says, else the environment, else what runs here."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

from pffs.errors import ConnectionFailed, InvalidRequest
from pffs.http import HttpTransport
from pffs.mount import MountTransport, is_mount
from pffs.transport import Transport

DEFAULT = "http://127.0.0.1:7070"
HOST_VARIABLES = ("PFFS_HOST", "PFFS_API", "PODFLARE_HOSTD_URL", "PODFLARE_HOST")
KEY_VARIABLES = ("PFFS_API_KEY", "PODFLARE_API_KEY")


def _from_environment(names: tuple[str, ...]) -> str | None:
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def runtime_dir() -> Path:
    """Where a pffs of this user has its socket."""
    if os.getuid() == 0:
        return Path("/run/pffs")
    xdg = os.environ.get("XDG_RUNTIME_DIR")
    return Path(xdg, "pffs") if xdg else Path(f"/tmp/pffs-{os.getuid()}")


def running_socket() -> Path | None:
    """The socket of the pffs that was started last, if one runs. A directory or a socket
    of another user is not to be trusted."""
    found: list[tuple[float, Path]] = []
    with contextlib.suppress(OSError):
        folder = runtime_dir()
        if folder.lstat().st_uid != os.getuid():
            return None
        for path in folder.glob("*.sock"):
            st = path.lstat()
            if path.stem.isdigit() and stat.S_ISSOCK(st.st_mode) and st.st_uid == os.getuid():
                found.append((st.st_mtime, path))
    return next((path for _, path in sorted(found, reverse=True) if _answers(path)), None)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(2)
        try:
            sock.connect(str(path))
        except OSError:
            return False
    return True


def connect(
    host: str | os.PathLike[str] | None = None,
    *,
    api_key: str | None = None,
    timeout: float = 30.0,
    traceparent: str | None = None,
) -> Transport:
    """The transport for ``host``: ``http://...``, ``https://...``, a Unix socket as
    ``unix:PATH`` or PATH, the directory of a mount; None: the environment's, else the pffs
    that runs here."""
    address = os.fspath(host) if host else _from_environment(HOST_VARIABLES)
    if not address:
        path = running_socket()
        address = f"unix:{path}" if path else DEFAULT
    if "://" not in address and not address.startswith("unix:"):
        address = _of_path(address)
    if address.startswith("mount:"):
        return MountTransport(address[6:])
    return HttpTransport(
        address,
        api_key=api_key or _from_environment(KEY_VARIABLES),
        timeout=timeout,
        traceparent=traceparent or os.environ.get("PODFLARE_TRACEPARENT") or None,
    )


def _of_path(path: str) -> str:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise ConnectionFailed(f"there is no pffs at {path}: {error.strerror}") from error
    if stat.S_ISSOCK(mode):
        return f"unix:{path}"
    if stat.S_ISDIR(mode) and is_mount(path):
        return f"mount:{path}"
    raise InvalidRequest(
        f"{path} is neither a socket nor the directory of a mount", code="EINVAL", status=400
    )
