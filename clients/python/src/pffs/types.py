"""What pffs answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from pffs.runs import Change, Figure, OutputFile, Run

Language = Literal["python", "bash"]
EventType = Literal["stdout", "stderr", "exit"]
Signal = Literal["interrupt", "kill"]
State = Literal["starting", "ready", "running", "frozen", "dead"]
Favour = Literal["ours", "theirs"]

#: An object of JSON, as it came.
Json = dict[str, Any]

_T = TypeVar("_T")


def known(kind: type[_T], obj: Mapping[str, Any]) -> _T:
    """A dataclass of what an object has for it. A newer server may say more."""
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    return kind(**{key: value for key, value in obj.items() if key in names})


@dataclass
class Event:
    """A line that a run put out, or its end.

    ``data`` is the line, without its end; of ``exit`` it is the exit code.
    """

    type: EventType
    data: str | int
    seq: int
    ts: int

    @classmethod
    def from_json(cls, obj: Mapping[str, Any]) -> Event:
        return known(cls, obj)


@dataclass
class ExecResult:
    """What ``run_code`` gives: lines put together, without the end of the last one.

    The rest is fetched when it is asked for.
    """

    stdout: str
    stderr: str
    exit_code: int
    run: Run | None = field(default=None, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        return self.exit_code == 0

    @property
    def timed_out(self) -> bool:
        return self.run is not None and self.run.timed_out

    @property
    def out_of_memory(self) -> bool:
        return self.run is not None and self.run.out_of_memory

    @property
    def changes(self) -> list[Change]:
        """The files that it made (A), modified (M) and removed (D)."""
        return (self.run.changes or []) if self.run else []

    @property
    def figures(self) -> list[Figure]:
        """What matplotlib drew."""
        return self.run.figures if self.run else []

    @property
    def files(self) -> list[OutputFile]:
        """The files that it made or modified, to be read."""
        return self.run.files if self.run else []


@dataclass(frozen=True)
class SandboxInfo:
    """How a sandbox is."""

    id: str
    state: State
    name: str = ""
    path: str = ""
    template: str = ""
    parent: str | None = None
    generation: int = 0
    created: str = ""
    run: int = 0
    forks: int = 0
    egress: bool = False
    reason: str = ""
    config: Json = field(default_factory=dict)


@dataclass(frozen=True)
class FileEntry:
    """A name in a sandbox's directory. ``mode`` is a number, ``target`` that of a link."""

    name: str
    path: str
    type: Literal["file", "directory", "symlink", "fifo", "socket", "device"]
    size: int
    mode: int
    uid: int = 0
    gid: int = 0
    modified: str = ""
    target: str | None = None

    @classmethod
    def from_json(cls, obj: Mapping[str, Any]) -> FileEntry:
        path = "/" + obj["path"].lstrip("/")
        return known(cls, {**obj, "mode": int(str(obj["mode"]), 8), "path": path})


@dataclass(frozen=True)
class Template:
    """What sandboxes are made from. ``made`` tells one that was made of a sandbox."""

    name: str
    default: bool = False
    made: bool = False
    created: str | None = None
    info: str | None = None
    packages: str | None = None


@dataclass
class PtySessionInfo:
    """A terminal, as ``pty.list()`` tells of it."""

    pty_id: str
    cmd_label: str = ""
    created_at_ms: int = 0
    exit_code: int | None = None
