"""Runs by the files of a mount: code goes into ``exec``, the rest is in ``runs/N``.

Theory of operation: whoever writes to ``exec`` begins a run, which is the newest from
its first byte on, so ``last`` names it, unless somebody else began one in between. Users
of this client take turns by a lock on ``ctl``; against others the code that is kept
of the run is compared. From then on ``runs/N`` tells of that run and of no other.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Generator, Iterator
from io import FileIO
from pathlib import Path
from typing import Literal

from pffs.errors import Conflict, NotFound, PffsError, ServerError, of_errno
from pffs.mount.tree import Tree, plainly, put, told_by, values
from pffs.transport import CHUNK, Lines, Stream
from pffs.types import Json, Language, Signal

TEXT_MAX = 1 << 20  # of a run's output in an answer, as the HTTP socket has it
REPLAY_MAX = 1000
TIMED_OUT = 124


class Execution:
    """The output of a run as it comes: see pffs.transport.Execution."""

    def __init__(self, place: Path, number: int, timeout: float | None) -> None:
        self.number: int | None = number
        self._place = place
        self._events = _run_events(place, number, timeout)

    def __iter__(self) -> Iterator[Json]:
        return self

    def __next__(self) -> Json:
        with told_by(self._place):
            return next(self._events)

    def close(self) -> None:
        self._events.close()


def _run_events(place: Path, number: int, timeout: float | None) -> Generator[Json, None, None]:
    """Events of a run as of POST exec. Both streams are read as they come."""
    run = place / "runs" / str(number)
    limit = Limit(place, number, timeout)
    seq = 0

    def event(kind: str, data: str | int) -> Json:
        nonlocal seq
        seq += 1
        return {"type": kind, "data": data, "seq": seq - 1, "ts": int(time.time() * 1000)}

    with contextlib.ExitStack() as stack:
        files = {}
        poll = select.poll()
        for kind in ("stdout", "stderr"):
            file = stack.enter_context(open(run / kind, "rb", buffering=0, opener=_nonblocking))
            files[file.fileno()] = (kind, file, Lines())
            poll.register(file, select.POLLIN)
        while files:
            for fd, _ in poll.poll(limit.poll_ms()) or ():
                kind, file, lines = files[fd]
                piece = file.read(CHUNK)
                if piece is None:
                    continue
                texts = lines.feed(piece) if piece else lines.end()
                if not piece:
                    poll.unregister(fd)
                    del files[fd]
                for text in texts:
                    yield event(kind, text)
            limit.enforce()
        code = int((run / "exit").read_text())
        yield event("exit", TIMED_OUT if limit.passed else code)


def _nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


class Limit:
    """The time that one run may take. The mount has one for all runs of a sandbox, so
    this one is kept here: when it has passed, the run is killed."""

    def __init__(self, place: Path, number: int, seconds: float | None) -> None:
        self.place = place
        self.number = number
        self.seconds = seconds
        self.passed = False
        self._deadline: float | None = None

    def poll_ms(self) -> int | None:
        """How long to wait until there is something to enforce; None: for ever."""
        if not self.seconds or self.passed:
            return None
        if self._deadline is None:
            status = values(self.place / "runs" / str(self.number) / "status")
            if status["state"] != "running":
                return 50  # its time begins when it does
            self._deadline = time.monotonic() + self.seconds
        return max(0, int((self._deadline - time.monotonic()) * 1000) + 1)

    def enforce(self) -> None:
        if self._deadline is None or self.passed or time.monotonic() < self._deadline:
            return
        run = self.place / "runs" / str(self.number)
        if values(run / "status")["state"] == "running":
            self.passed = True
            put(self.place / "ctl", "kill\n")


class RunsMixin(Tree):
    def execute(
        self,
        sandbox: str,
        code: str,
        language: Language,
        stdin: str | bytes | None = None,
        timeout_seconds: float | None = None,
    ) -> Execution:
        place = self.dir(sandbox)
        with told_by(place):
            number = self._begin(place, code, language, stdin)
        return Execution(place, number, timeout_seconds)

    def _begin(
        self, place: Path, code: str, language: Language, stdin: str | bytes | None
    ) -> int:
        data = code.encode("utf-8", "surrogateescape") or b"\n"
        with self.alone(place):
            before = int(values(place / "status")["run"])
            fd = os.open(place / ("bash" if language == "bash" else "exec"), os.O_WRONLY)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
                number = self._ours(place, before, data)
                if stdin is not None:
                    self._feed(place, fd, number, stdin)
            finally:
                if fd >= 0:
                    os.close(fd)
            return number

    @staticmethod
    def _ours(place: Path, before: int, data: bytes) -> int:
        """The run that has our code, of those that began since ``before``."""
        newest = int(os.path.basename(os.readlink(place / "last")))
        if newest == before + 1:
            return newest
        for number in range(newest, before, -1):
            run = place / "runs" / str(number)
            with contextlib.suppress(OSError):
                if values(run / "status")["state"] != "writing":
                    continue
                with open(run / "code", "rb", opener=_nonblocking) as file:
                    if file.read(len(data) + 1) == data:
                        return number
        raise ServerError("the run went before it began", code="EIO", status=500)

    @staticmethod
    def _feed(place: Path, fd: int, number: int, stdin: str | bytes) -> None:
        """Give stdin to a run that is still being written.

        ``stdin`` is bound to the run that goes on, so that has to end first; ours, not being
        complete, delays nobody.
        """
        while True:
            others = [
                int(name)
                for name in os.listdir(place / "runs")
                if int(name) != number
                and values(place / "runs" / name / "status")["state"] in ("queued", "running")
            ]
            if not others:
                break
            (place / "runs" / str(others[0]) / "exit").read_text()
        data = stdin.encode() if isinstance(stdin, str) else stdin
        with open(place / "stdin", "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) or 0 :]

    def run(
        self,
        sandbox: str,
        code: str,
        language: Language,
        stdin: str | bytes | None = None,
        timeout_seconds: float | None = None,
        wait: bool = True,
    ) -> Json:
        place = self.dir(sandbox)
        with told_by(place):
            number = self._begin(place, code, language, stdin)
            if not wait:
                return self._run(place, number, text=True)
            limit = Limit(place, number, timeout_seconds)
            self._wait(place, number, limit)
            info = self._run(place, number, text=True)
        if limit.passed:
            info.update(timed_out=True, exit_code=TIMED_OUT)
        return info

    @staticmethod
    def _wait(place: Path, number: int, limit: Limit | None = None) -> None:
        run = place / "runs" / str(number)
        with open(run / "exit", "rb", buffering=0, opener=_nonblocking) as file:
            poll = select.poll()
            poll.register(file, select.POLLIN)
            while file.read(16) is None:
                poll.poll(limit.poll_ms() if limit else None)
                if limit:
                    limit.enforce()

    def runs(self, sandbox: str) -> list[Json]:
        place = self.dir(sandbox)
        found = []
        with told_by(place):
            for number in sorted(int(name) for name in os.listdir(place / "runs")):
                with contextlib.suppress(NotFound):
                    found.append(self._run(place, number, text=False))
        return found

    def run_info(self, sandbox: str, number: int | Literal["last"], wait: bool) -> Json:
        place = self.dir(sandbox)
        if number == "last":
            number = int(values(place / "status")["run"])
        if wait:
            with self._of_run(place, number):
                self._wait(place, number)
        return self._run(place, number, text=True)

    @staticmethod
    @contextlib.contextmanager
    def _of_run(place: Path, number: int) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise NotFound(
                f"{place.name} has no run {number}", code="ENOENT", status=404
            ) from error
        except PffsError:
            raise
        except OSError as error:
            raise of_errno(error) from error

    def _run(self, place: Path, number: int, text: bool) -> Json:
        run = place / "runs" / str(number)
        with self._of_run(place, number):
            status = values(run / "status")
            info: Json = {
                "number": number,
                "state": status["state"],
                "language": status["language"],
                "created": status.get("created"),
                "started": status.get("started"),
                "ended": status.get("ended"),
                "exit_code": int(status["exit"]) if "exit" in status else None,
                "timed_out": status.get("timed_out") == "1",
                "out_of_memory": status.get("out_of_memory") == "1",
            }
            if text:
                for stream in ("stdout", "stderr"):
                    info[stream], cut = _newest(run / stream)
                    if cut:
                        info["truncated"] = True
                self._results(place, run, info)
        return info

    @staticmethod
    def _results(place: Path, run: Path, info: Json) -> None:
        figures = sorted((run / "figures").iterdir(), key=lambda f: int(f.stem))
        info["figures"] = [
            {"number": int(f.stem), "media_type": "image/png", "size": f.stat().st_size}
            for f in figures
        ]
        info["changes"], info["files"] = None, []
        if info["state"] != "ended":
            return
        try:
            lines = (run / "changes").read_bytes().splitlines()
        except OSError:
            return  # the machine ended before it could tell
        changes = [(chr(line[0]), unquote(line[2:])) for line in lines]
        info["changes"] = [{"change": change, "path": path} for change, path in changes]
        info["files"] = [
            {"path": path}
            for change, path in changes
            if change != "D" and _is_file(place / "fs" / path)
        ]

    def stop(self, sandbox: str, number: int, signal: Signal) -> None:
        place = self.dir(sandbox)
        with self._of_run(place, number):
            state = values(place / "runs" / str(number) / "status")["state"]
        if state != "running":
            raise Conflict(f"run {number} is {state}", code="EBUSY", status=409)
        with told_by(place):
            put(place / "ctl", signal + "\n")

    def output(
        self, sandbox: str, number: int, stream: Stream, follow: bool
    ) -> Iterator[bytes]:
        place = self.dir(sandbox)
        path = place / "runs" / str(number) / stream
        with self._of_run(place, number):
            file = open(path, "rb", buffering=0, opener=None if follow else _nonblocking)
        return _pieces(file)

    def figure(self, sandbox: str, number: int, figure: int) -> bytes:
        place = self.dir(sandbox)
        with plainly(f"figure {figure} of run {number}"):
            return (place / "runs" / str(number) / "figures" / f"{figure}.png").read_bytes()

    def replay(self, sandbox: str) -> list[Json]:
        place = self.dir(sandbox)
        events: list[Json] = []
        for number in sorted((int(n) for n in os.listdir(place / "runs")), reverse=True):
            with contextlib.suppress(OSError):
                if values(place / "runs" / str(number) / "status")["state"] != "ended":
                    continue
                events[:0] = list(_run_events(place, number, None))
            if len(events) >= REPLAY_MAX:
                break
        return [{**event, "seq": seq} for seq, event in enumerate(events[-REPLAY_MAX:])]


def _pieces(file: FileIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(CHUNK):
            yield piece


def _is_file(path: Path) -> bool:
    try:
        return path.is_file() and not path.is_symlink()
    except OSError:
        return False


def _newest(path: Path) -> tuple[str, bool]:
    """The end of a stream, as text, and whether something is missing before it."""
    with open(path, "rb", buffering=0, opener=_nonblocking) as file:
        size = os.fstat(file.fileno()).st_size
        cut = size > TEXT_MAX
        if cut:
            file.seek(size - TEXT_MAX)
        parts = []
        while piece := file.read(CHUNK):
            parts.append(piece)
    return b"".join(parts).decode("utf-8", "replace"), cut


def unquote(name: bytes) -> str:
    """A path as ``changes`` has it: between quotes with C's escapes where it is unusual."""
    if not name.startswith(b'"'):
        return os.fsdecode(name)
    raw = name[1:-1].decode("ascii").encode("ascii").decode("unicode_escape")
    return os.fsdecode(raw.encode("latin-1"))
