"""Where sandboxes are in a mount, and how its small files are read and written."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from pffs.errors import Forbidden, InvalidRequest, NotFound, PffsError, of_errno
from pffs.types import Json

CONFIG = {
    "exec_timeout_seconds": "exec_timeout",
    "idle_timeout_seconds": "idle_timeout",
    "max_lifetime_seconds": "max_lifetime",
    "persistent": "persistent",
    "egress": "egress",
    "memory_mib": "memory_mib",
    "vcpus": "vcpus",
    "disk_mib": "disk_mib",
    "pids": "pids",
    "cpu_percent": "cpu_percent",
}


def values(path: Path) -> dict[str, str]:
    """The KEY VALUE lines of a file."""
    pairs = (line.partition(" ") for line in path.read_text("utf-8", "replace").splitlines())
    return {key: value for key, _, value in pairs}


def put(path: Path, text: str) -> None:
    """Write a control file, in one write."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def sentence(where: Path) -> str:
    """What the newest error of a sandbox, or of the root, says."""
    with contextlib.suppress(OSError):
        status = values(where / "status")
        if status.get("state") == "dead":
            return f"{status['name']} is dead: {status.get('reason', '')}"
    with contextlib.suppress(OSError):
        return (where / "error").read_text("utf-8", "replace").strip()
    return ""


@contextlib.contextmanager
def told_by(where: Path) -> Iterator[None]:
    """An OSError inside becomes the sentence that pffs has for it."""
    try:
        yield
    except PffsError:
        raise
    except OSError as error:
        raise of_errno(error, sentence(where)) from error


@contextlib.contextmanager
def plainly(what: str) -> Iterator[None]:
    """An OSError inside becomes what the system says, about ``what``."""
    try:
        yield
    except PffsError:
        raise
    except OSError as error:
        raise of_errno(error, f"{what}: {os.strerror(error.errno or 0)}") from error


class Tree:
    """The directories of a mount, found by id, name or path."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self._known: dict[str, Path] = {}
        self._locks: dict[str, threading.RLock] = {}
        self._guard = threading.Lock()

    def dir(self, sandbox: str) -> Path:
        """Where a sandbox is now. Names change hands; ids do not."""
        if not sandbox.startswith("sbx_"):
            return self._by_path(sandbox)
        known = self._known.get(sandbox)
        if known and self._id(known) == sandbox:
            return known
        for place, _ in self.walk():
            if self._known.get(sandbox) == place:
                return place
        raise NotFound(f"there is no sandbox {sandbox}", code="ENOENT", status=404)

    def _by_path(self, path: str) -> Path:
        parts = path.split("/")
        place = self.root.joinpath(*parts)
        if any(part in ("", ".", "..") for part in parts):
            raise InvalidRequest(f"{path!r} is not the name of a sandbox", code="EINVAL", status=400)
        if not self._id(place):
            raise NotFound(f"there is no sandbox {path}", code="ENOENT", status=404)
        return place

    def _id(self, place: Path) -> str:
        try:
            return values(place / "status").get("id", "")
        except PermissionError as error:
            raise Forbidden(f"{place} is another user's", code="EACCES", status=403) from error
        except OSError:
            return ""

    def walk(self) -> Iterator[tuple[Path, dict[str, str]]]:
        """Every sandbox that may be seen: where it is, and its status."""
        places = [self.root / name for name in self._names(self.root) if name != "templates"]
        for template in self._names(self.root / "templates"):
            forks = self.root / "templates" / template / "forks"
            places += [forks / name for name in self._names(forks)]
        while places:
            place = places.pop(0)
            try:
                status = values(place / "status")
            except OSError:
                continue  # gone meanwhile, or not ours
            self._known[status["id"]] = place
            yield place, status
            places += [place / "forks" / name for name in self._names(place / "forks")]

    @staticmethod
    def _names(folder: Path) -> list[str]:
        try:
            with os.scandir(folder) as entries:
                return sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
        except OSError:
            return []

    def info(self, place: Path) -> Json:
        """A sandbox, as the HTTP socket has it."""
        with plainly(str(place.relative_to(self.root))):
            status = values(place / "status")
        parent = status.get("parent", "")
        self._known[status["id"]] = place
        state = status["state"]
        if state == "ready" and self._runs_now(place):
            state = "running"
        info: Json = {
            "id": status["id"],
            "name": status["name"],
            "path": str(place.relative_to(self.root)),
            "state": state,
            "template": status["template"],
            "parent": None if parent.startswith("templates/") else parent,
            "generation": int(status["generation"]),
            "created": status["created"],
            "run": int(status["run"]),
            "forks": len(self._names(place / "forks")),
            "config": self._config(place),
        }
        info["egress"] = info["config"].get("egress", "off") != "off"
        if "reason" in status:
            info["reason"] = status["reason"]
        return info

    @staticmethod
    def _runs_now(place: Path) -> bool:
        try:
            return values(place / "last" / "status").get("state") in ("queued", "running")
        except OSError:
            return False

    @staticmethod
    def _config(place: Path) -> Json:
        config: Json = {}
        for key, name in CONFIG.items():
            with contextlib.suppress(OSError, ValueError):
                text = (place / "config" / name).read_text().strip()
                if key == "persistent":
                    config[key] = text == "on"
                elif key == "egress":
                    config[key] = text
                else:
                    config[key] = float(text) if key.endswith("_seconds") else int(text)
        return config

    @contextlib.contextmanager
    def alone(self, place: Path) -> Iterator[None]:
        """One thread at a time, and one process among those that use this client."""
        with self._guard:
            lock = self._locks.setdefault(str(place), threading.RLock())
        with lock:
            fd = os.open(place / "ctl", os.O_WRONLY)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                yield
            finally:
                os.close(fd)

    def children(self, place: Path) -> list[str]:
        return self._names(place / "forks")
