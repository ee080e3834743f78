"""Runs of a sandbox, and what came of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pffs.transport import Execution, Stream
from pffs.types import Event, Json, Language, Signal

if TYPE_CHECKING:
    from pffs.sandbox import Sandbox


@dataclass(frozen=True)
class Change:
    """A file that a run made (A), modified (M) or removed (D)."""

    change: Literal["A", "M", "D"]
    path: str


@dataclass(frozen=True)
class Figure:
    """What matplotlib drew: a PNG, fetched when ``data`` is asked for."""

    number: int
    media_type: str
    size: int
    _run: Run = field(repr=False, compare=False)

    @property
    def data(self) -> bytes:
        return self._run._figure(self.number)

    def _repr_png_(self) -> bytes:
        return self.data


@dataclass(frozen=True)
class OutputFile:
    """A file that a run made or modified."""

    path: str
    _run: Run = field(repr=False, compare=False)

    def read(self) -> bytes:
        return self._run.sandbox.files.read(self.path)


def absolute(path: str) -> str:
    return "/" + path.lstrip("/")


class Run:
    """A run: its number and, once it is asked for, what is known of it.

    What is known is fetched once; ``refresh()`` fetches it anew.
    """

    def __init__(self, sandbox: Sandbox, number: int, info: Json | None = None) -> None:
        self.sandbox = sandbox
        self.number = number
        self._info = info
        self._figures: dict[int, bytes] = {}

    def __repr__(self) -> str:
        return f"<Run {self.number} of {self.sandbox.id}>"

    @property
    def info(self) -> Json:
        """The object of docs/http.md."""
        if self._info is None:
            self.refresh()
        assert self._info is not None
        return self._info

    def refresh(self) -> Run:
        self._info = self.sandbox._transport.run_info(self.sandbox.id, self.number, False)
        return self

    def wait(self) -> Run:
        """Until it has ended and it is known what it changed."""
        self._info = self.sandbox._transport.run_info(self.sandbox.id, self.number, True)
        return self

    def _ended(self, key: str) -> Any:
        """What is known only of the end."""
        if key not in self.info or self.info.get("state") != "ended":
            self.refresh()
        return self.info.get(key)

    @property
    def state(self) -> Literal["writing", "queued", "running", "ended"]:
        state: Literal["writing", "queued", "running", "ended"] = self.info["state"]
        return state

    @property
    def language(self) -> str:
        return str(self.info["language"])

    @property
    def exit_code(self) -> int | None:
        code = self._ended("exit_code")
        return None if code is None else int(code)

    @property
    def ok(self) -> bool:
        return self.exit_code == 0

    @property
    def timed_out(self) -> bool:
        return bool(self._ended("timed_out"))

    @property
    def out_of_memory(self) -> bool:
        return bool(self._ended("out_of_memory"))

    @property
    def stdout(self) -> str:
        """Its text, exactly; of more than 1 MiB the end (``truncated``)."""
        return str(self._ended("stdout") or "")

    @property
    def stderr(self) -> str:
        return str(self._ended("stderr") or "")

    @property
    def truncated(self) -> bool:
        return bool(self._ended("truncated"))

    @property
    def changes(self) -> list[Change] | None:
        """None while, or when, it is not known."""
        if self._ended("changes") is None and self.state == "ended":
            self.wait()
        changes = self.info.get("changes")
        if changes is None:
            return None
        return [Change(c["change"], absolute(c["path"])) for c in changes]

    @property
    def figures(self) -> list[Figure]:
        return [
            Figure(f["number"], f["media_type"], f["size"], self)
            for f in self._ended("figures") or ()
        ]

    @property
    def files(self) -> list[OutputFile]:
        if self.changes is None:
            return []
        return [OutputFile(absolute(f["path"]), self) for f in self.info.get("files") or ()]

    def _figure(self, number: int) -> bytes:
        if number not in self._figures:
            self._figures[number] = self.sandbox._transport.figure(
                self.sandbox.id, self.number, number
            )
        return self._figures[number]

    def read(self, stream: Stream = "output") -> bytes:
        """The bytes of a stream that are there now."""
        return b"".join(
            self.sandbox._transport.output(self.sandbox.id, self.number, stream, False)
        )

    def follow(self, stream: Stream = "output") -> Iterator[bytes]:
        """The bytes of a stream as they come, until the run ends."""
        return self.sandbox._transport.output(self.sandbox.id, self.number, stream, True)

    def stop(self, signal: Signal = "kill") -> None:
        self.sandbox._transport.stop(self.sandbox.id, self.number, signal)


class RunStream(Iterator[Event]):
    """The events of a run as they come. ``close()`` leaves it; the run goes on."""

    def __init__(self, sandbox: Sandbox, execution: Execution) -> None:
        self.run = Run(sandbox, execution.number) if execution.number else None
        self._execution = execution

    def __next__(self) -> Event:
        return Event.from_json(next(self._execution))

    def close(self) -> None:
        self._execution.close()

    def __enter__(self) -> RunStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Runs:
    """``sandbox.runs``: the runs that are kept, the newest 1,000."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def list(self) -> list[Run]:
        found = self._sandbox._transport.runs(self._sandbox.id)
        return [Run(self._sandbox, info["number"], info) for info in found]

    def get(self, number: int) -> Run:
        info = self._sandbox._transport.run_info(self._sandbox.id, number, False)
        return Run(self._sandbox, info["number"], info)

    def last(self) -> Run:
        info = self._sandbox._transport.run_info(self._sandbox.id, "last", False)
        return Run(self._sandbox, info["number"], info)

    def start(
        self,
        code: str,
        language: Language = "python",
        *,
        stdin: str | bytes | None = None,
        timeout_seconds: float | None = None,
    ) -> Run:
        """Begin a run and do not wait for it."""
        info = self._sandbox._transport.run(
            self._sandbox.id, code, language, stdin, timeout_seconds, False
        )
        return Run(self._sandbox, info["number"], info)
