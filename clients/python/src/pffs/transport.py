"""What can be asked of a pffs, whichever way it is reached.

``pffs.http`` asks its HTTP socket, ``pffs.mount`` the files of its mount. Objects are
those of docs/http.md either way, and so are errors (``pffs.errors``). All methods may be
called by several threads at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Literal, Protocol

from pffs.types import Favour, Json, Language, Signal

Stream = Literal["stdout", "stderr", "output", "code"]

CHUNK = 1 << 18


class Execution(Protocol):
    """A run that goes on: its number, once known, and what it puts out, as it comes."""

    number: int | None

    def __iter__(self) -> Iterator[Json]: ...

    def __next__(self) -> Json: ...

    def close(self) -> None: ...


class Transport(ABC):
    address: str

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def healthz(self) -> bool: ...

    @abstractmethod
    def host(self) -> Json: ...

    # Sandboxes

    @abstractmethod
    def create(self, options: Json) -> Json: ...

    @abstractmethod
    def sandboxes(self) -> list[Json]: ...

    @abstractmethod
    def sandbox(self, sandbox: str) -> Json: ...

    @abstractmethod
    def configure(self, sandbox: str, options: Json) -> Json: ...

    @abstractmethod
    def destroy(self, sandbox: str, forks: Literal["keep", "refuse", "remove"]) -> None: ...

    @abstractmethod
    def fork(self, sandbox: str, count: int, names: Sequence[str]) -> list[Json]: ...

    @abstractmethod
    def merge_into(self, sandbox: str, winner: str) -> None: ...

    @abstractmethod
    def merge_files(self, sandbox: str, forks: Sequence[str], favour: Favour | None) -> str: ...

    @abstractmethod
    def freeze(self, sandbox: str) -> Json: ...

    @abstractmethod
    def resume(self, sandbox: str) -> Json: ...

    @abstractmethod
    def control(
        self, sandbox: str, verb: Literal["interrupt", "kill", "reset"]
    ) -> None: ...

    @abstractmethod
    def stats(self, sandbox: str) -> dict[str, int]: ...

    # Runs

    @abstractmethod
    def execute(
        self,
        sandbox: str,
        code: str,
        language: Language,
        stdin: str | bytes | None = None,
        timeout_seconds: float | None = None,
    ) -> Execution: ...

    @abstractmethod
    def run(
        self,
        sandbox: str,
        code: str,
        language: Language,
        stdin: str | bytes | None = None,
        timeout_seconds: float | None = None,
        wait: bool = True,
    ) -> Json: ...

    @abstractmethod
    def runs(self, sandbox: str) -> list[Json]: ...

    @abstractmethod
    def run_info(self, sandbox: str, number: int | Literal["last"], wait: bool) -> Json: ...

    @abstractmethod
    def stop(self, sandbox: str, number: int, signal: Signal) -> None: ...

    @abstractmethod
    def output(
        self, sandbox: str, number: int, stream: Stream, follow: bool
    ) -> Iterator[bytes]: ...

    @abstractmethod
    def figure(self, sandbox: str, number: int, figure: int) -> bytes: ...

    @abstractmethod
    def replay(self, sandbox: str) -> list[Json]: ...

    # Files

    @abstractmethod
    def read_file(
        self, sandbox: str, path: str, offset: int, length: int | None
    ) -> Iterator[bytes]: ...

    @abstractmethod
    def write_file(
        self, sandbox: str, path: str, data: bytes | BinaryIO, mode: int | None
    ) -> None: ...

    @abstractmethod
    def stat(self, sandbox: str, path: str) -> Json: ...

    @abstractmethod
    def list_dir(self, sandbox: str, path: str) -> list[Json]: ...

    @abstractmethod
    def make_dir(self, sandbox: str, path: str, mode: int | None) -> None: ...

    @abstractmethod
    def remove(self, sandbox: str, path: str, recursive: bool) -> None: ...

    @abstractmethod
    def read_tar(self, sandbox: str, path: str) -> Iterator[bytes]: ...

    @abstractmethod
    def write_tar(self, sandbox: str, path: str, data: bytes | BinaryIO) -> None: ...

    @abstractmethod
    def changes(self, sandbox: str, paths: Sequence[str]) -> dict[str, list[str]]: ...

    @abstractmethod
    def diff(
        self, sandbox: str, target: str, paths: Sequence[str]
    ) -> dict[str, list[str]]: ...

    @abstractmethod
    def patch(self, sandbox: str, target: str | None, paths: Sequence[str]) -> bytes: ...

    # Terminals

    @abstractmethod
    def pty_create(self, sandbox: str, body: Json) -> Iterator[Json]: ...

    @abstractmethod
    def pty_attach(self, sandbox: str, pty: str) -> Iterator[Json]: ...

    @abstractmethod
    def pty_list(self, sandbox: str) -> list[Json]: ...

    @abstractmethod
    def pty_input(self, sandbox: str, pty: str, data: bytes) -> None: ...

    @abstractmethod
    def pty_resize(self, sandbox: str, pty: str, cols: int, rows: int) -> None: ...

    @abstractmethod
    def pty_kill(self, sandbox: str, pty: str) -> None: ...

    @abstractmethod
    def pty_read(
        self, sandbox: str, pty: str, since: int, max_bytes: int, timeout_ms: int
    ) -> Json: ...

    # Events, templates

    @abstractmethod
    def events(
        self, sandbox: str | None, since: int | None, follow: bool
    ) -> Iterator[Json]: ...

    @abstractmethod
    def templates(self) -> list[Json]: ...

    @abstractmethod
    def template(self, name: str) -> Json: ...

    @abstractmethod
    def make_template(self, sandbox: str, name: str) -> Json: ...

    @abstractmethod
    def set_default_template(self, name: str) -> Json: ...

    @abstractmethod
    def delete_template(self, name: str) -> None: ...


def is_under(path: str, paths: Sequence[str]) -> bool:
    """Is ``path`` one of ``paths``, or below one?"""
    if not paths:
        return True
    tops = [p.rstrip("/") for p in paths]
    return any(path == top or path.startswith(top + "/") for top in tops)


class Lines:
    """Pieces of bytes in, lines of text out: what is no UTF-8 becomes U+FFFD."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, piece: bytes) -> list[str]:
        head, newline, tail = piece.rpartition(b"\n")
        if not newline:
            self._rest.append(piece)
            return []
        whole = b"".join([*self._rest, head])
        self._rest = [tail] if tail else []
        return [line.decode("utf-8", "replace") for line in whole.split(b"\n")]

    def end(self) -> list[str]:
        whole = b"".join(self._rest)
        self._rest = []
        return [whole.decode("utf-8", "replace")] if whole else []
