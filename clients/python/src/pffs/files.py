"""``sandbox.files``: the files of a sandbox. A path that does not begin with ``/`` is one
below /root, where programs start."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from pffs.types import FileEntry

if TYPE_CHECKING:
    from pffs.sandbox import Sandbox

HOME = "/root"


def in_guest(path: str | os.PathLike[str]) -> str:
    return posixpath.join(HOME, os.fspath(path))


class Files:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    @property
    def _id(self) -> str:
        return self._sandbox.id

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        return b"".join(self.chunks(path, offset, length))

    def chunks(self, path: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes in pieces, for what is too large to be held."""
        return self._sandbox._transport.read_file(self._id, in_guest(path), offset, length)

    def read_text(self, path: str, encoding: str = "utf-8") -> str:
        return self.read(path).decode(encoding)

    def write(self, path: str, data: bytes | str | BinaryIO, mode: int | None = None) -> None:
        """Write a file, whole or not at all. Missing directories are made."""
        if isinstance(data, str):
            data = data.encode()
        self._sandbox._transport.write_file(self._id, in_guest(path), data, mode)

    def stat(self, path: str) -> FileEntry:
        return FileEntry.from_json(self._sandbox._transport.stat(self._id, in_guest(path)))

    def exists(self, path: str) -> bool:
        try:
            self.stat(path)
        except FileNotFoundError:
            return False
        return True

    def list(self, path: str = HOME) -> list[FileEntry]:
        entries = self._sandbox._transport.list_dir(self._id, in_guest(path))
        return sorted((FileEntry.from_json(e) for e in entries), key=lambda e: e.name)

    def mkdir(self, path: str, mode: int | None = None) -> None:
        """Make a directory, and those above it. It may be there."""
        self._sandbox._transport.make_dir(self._id, in_guest(path), mode)

    def remove(self, path: str, recursive: bool = False) -> None:
        self._sandbox._transport.remove(self._id, in_guest(path), recursive)

    def tar(self, path: str) -> Iterator[bytes]:
        """A tar of a directory and all below, in pieces."""
        return self._sandbox._transport.read_tar(self._id, in_guest(path))

    def untar(self, path: str, data: bytes | BinaryIO) -> None:
        """Take out a tar into a directory."""
        self._sandbox._transport.write_tar(self._id, in_guest(path), data)
