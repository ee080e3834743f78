"""The files of a sandbox by ``fs/`` of its directory in the mount."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import posixpath
import secrets
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, BinaryIO

from pffs.errors import InvalidRequest, NotFound
from pffs.mount.runs import unquote
from pffs.mount.tree import Tree, plainly, told_by
from pffs.transport import CHUNK, is_under
from pffs.types import Json

_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


def inside(path: str) -> str:
    """A path below fs/, whatever it is given as; ``..`` does not leave it."""
    if "\0" in path:
        raise InvalidRequest("a path has no NUL in it", code="EINVAL", status=400)
    return posixpath.normpath("/" + path).lstrip("/")


class FilesMixin(Tree):
    def _at(self, sandbox: str, path: str) -> Path:
        return self.dir(sandbox) / "fs" / inside(path)

    def read_file(
        self, sandbox: str, path: str, offset: int, length: int | None
    ) -> Iterator[bytes]:
        with plainly(path):
            file = open(self._at(sandbox, path), "rb", buffering=0)
            if offset:
                file.seek(offset)
        return _pieces(file, length, path)

    def write_file(
        self, sandbox: str, path: str, data: bytes | BinaryIO, mode: int | None
    ) -> None:
        """Whole or not at all: written beside it, then put in its place."""
        with plainly(path):
            place = Path(os.path.realpath(self._at(sandbox, path)))
            if place.is_dir():
                raise IsADirectoryError(21, "Is a directory")
            os.makedirs(place.parent, exist_ok=True)
            if mode is None:
                mode = 0o644
                with contextlib.suppress(FileNotFoundError):
                    mode = stat.S_IMODE(place.stat().st_mode)
            beside = place.with_name(f".{place.name[:200]}.{secrets.token_hex(4)}")
            try:
                with open(beside, "xb") as file:
                    if isinstance(data, bytes):
                        file.write(data)
                    else:
                        shutil.copyfileobj(data, file, CHUNK)
                os.chmod(beside, mode)
                os.rename(beside, place)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(beside)
                raise

    def stat(self, sandbox: str, path: str) -> Json:
        with plainly(path):
            return self._entry(sandbox, self._at(sandbox, path), "/" + inside(path))

    def list_dir(self, sandbox: str, path: str) -> list[Json]:
        top = "/" + inside(path)
        place = self._at(sandbox, path)
        with plainly(path):
            entries = []
            for name in sorted(os.listdir(place)):
                with contextlib.suppress(FileNotFoundError):
                    entries.append(
                        self._entry(sandbox, place / name, posixpath.join(top, name))
                    )
            return entries

    def _entry(self, sandbox: str, place: Path, path: str) -> Json:
        st = place.lstat()
        owner = os.stat(self.dir(sandbox) / "status")
        entry: Json = {
            "name": posixpath.basename(path),
            "path": path,
            "type": _TYPES.get(stat.S_IFMT(st.st_mode), "device"),
            "size": st.st_size,
            "mode": f"{stat.S_IMODE(st.st_mode):04o}",
            "uid": _swap(st.st_uid, owner.st_uid),
            "gid": _swap(st.st_gid, owner.st_gid),
            "modified": datetime.datetime.fromtimestamp(
                st.st_mtime, datetime.timezone.utc
            ).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        if stat.S_ISLNK(st.st_mode):
            entry["target"] = os.readlink(place)
        return entry

    def make_dir(self, sandbox: str, path: str, mode: int | None) -> None:
        with plainly(path):
            place = self._at(sandbox, path)
            os.makedirs(place, exist_ok=True)
            if mode is not None:
                os.chmod(place, mode)

    def remove(self, sandbox: str, path: str, recursive: bool) -> None:
        with plainly(path):
            place = self._at(sandbox, path)
            if not stat.S_ISDIR(place.lstat().st_mode):
                os.unlink(place)
            elif recursive:
                shutil.rmtree(place)
            else:
                os.rmdir(place)

    def read_tar(self, sandbox: str, path: str) -> Iterator[bytes]:
        spool = tempfile.TemporaryFile()
        try:
            with plainly(path):
                place = self._at(sandbox, path)
                place.lstat()
                with tarfile.open(fileobj=spool, mode="w", format=tarfile.PAX_FORMAT) as tar:
                    tar.add(place, arcname="." if place.is_dir() else place.name)
            spool.seek(0)
        except BaseException:
            spool.close()
            raise
        return _pieces(spool, None, path)

    def write_tar(self, sandbox: str, path: str, data: bytes | BinaryIO) -> None:
        with plainly(path), tempfile.TemporaryFile() as spool:
            place = self._at(sandbox, path)
            if isinstance(data, bytes):
                spool.write(data)
            else:
                shutil.copyfileobj(data, spool, CHUNK)
            spool.seek(0)
            os.makedirs(place, exist_ok=True)
            try:
                with tarfile.open(fileobj=spool, mode="r:*") as tar:
                    _take_out(tar, place)
            except tarfile.TarError as error:
                raise InvalidRequest(
                    f"this is no tar: {error}", code="EINVAL", status=400
                ) from error

    def changes(self, sandbox: str, paths: Sequence[str]) -> dict[str, list[str]]:
        place = self.dir(sandbox)
        with told_by(place):
            return _three(place / "changes.json", paths)

    def diff(self, sandbox: str, target: str, paths: Sequence[str]) -> dict[str, list[str]]:
        place = self.dir(sandbox)
        with told_by(place):
            return _three(self._target(place, target, ".json"), paths)

    def patch(self, sandbox: str, target: str | None, paths: Sequence[str]) -> bytes:
        place = self.dir(sandbox)
        with told_by(place):
            if target is None:
                text = (place / "changes.patch").read_bytes()
            else:
                text = self._target(place, target, ".patch").read_bytes()
        return _restricted(text, paths) if paths else text

    @staticmethod
    def _target(place: Path, target: str, ending: str) -> Path:
        if "/" in target:
            raise NotFound(f"there is no sandbox {target}", code="ENOENT", status=404)
        return place / "diff" / (target + ending)


def _pieces(file: IO[bytes], length: int | None, path: str) -> Iterator[bytes]:
    with file, plainly(path):
        while length is None or length > 0:
            piece = file.read(CHUNK if length is None else min(CHUNK, length))
            if not piece:
                return
            if length is not None:
                length -= len(piece)
            yield piece


def _swap(number: int, owner: int) -> int:
    """In fs/ the sandbox's owner stands for root, and root for that number."""
    return 0 if number == owner else owner if number == 0 else number


def _take_out(tar: tarfile.TarFile, place: Path) -> None:
    """Names stay below ``place``; where links in fs/ lead is pffs's business."""
    for member in tar:
        if ".." in member.name.split("/") or member.isdev():
            raise InvalidRequest(
                f"{member.name} cannot be taken out of a tar", code="EINVAL", status=400
            )
        member.name = member.name.lstrip("/") or "."
        if hasattr(tarfile, "fully_trusted_filter"):
            tar.extract(member, place, numeric_owner=True, filter="fully_trusted")
        else:
            tar.extract(member, place, numeric_owner=True)


def _three(file: Path, paths: Sequence[str]) -> dict[str, list[str]]:
    found = json.loads(file.read_bytes())
    return {
        key: [path for path in found[key] if is_under("/" + path, paths)]
        for key in ("added", "removed", "modified")
    }


def _restricted(text: bytes, paths: Sequence[str]) -> bytes:
    """The parts of a patch that are about files below ``paths``."""
    kept, keep = [], False
    for line in text.splitlines(keepends=True):
        if line.startswith(b"diff --git "):
            name = line.rstrip(b"\n").rpartition(b' "b/' if line.endswith(b'"\n') else b" b/")
            path = unquote(b'"' + name[2] if line.endswith(b'"\n') else name[2])
            keep = is_under("/" + path, paths)
        if keep:
            kept.append(line)
    return b"".join(kept)
