"""``sandbox.pty``: terminals, for programs that want one.

    with Sandbox() as sandbox:
        pty = sandbox.pty.create(cmd="python3", on_data=lambda data: print(data.decode()))
        pty.send_input("exit(3)\\r")
        assert pty.wait() == 3

What a terminal shows comes by a thread that belongs to the handle and calls ``on_data``.
A session goes on without its handle; ``attach`` comes back to it.
"""

from __future__ import annotations

import base64
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pffs.errors import PffsError, ServerError
from pffs.types import Json, PtySessionInfo, known

if TYPE_CHECKING:
    from pffs.sandbox import Sandbox

OnData = Callable[[bytes], object]
OnExit = Callable[[int], object]

READY_LIMIT = 60.0


class PtyHandle:
    """A terminal session. Made by ``sandbox.pty.create`` and ``attach``."""

    def __init__(
        self,
        sandbox: Sandbox,
        events: Iterator[Json],
        on_data: OnData | None,
        on_exit: OnExit | None,
        session: str | None = None,
        timeout_ms: int = 0,
    ) -> None:
        self._sandbox = sandbox
        self._on_data = on_data
        self._on_exit = on_exit
        self._id = session
        self._exit_code: int | None = None
        self._error: Exception | None = None
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._timer: threading.Timer | None = None
        if session:
            self._ready.set()
        threading.Thread(
            target=self._consume, args=(events,), daemon=True, name="pffs-pty"
        ).start()
        if not self._ready.wait(READY_LIMIT):
            raise TimeoutError("the terminal did not start in time")
        if self._id is None:
            raise self._error or ServerError("the terminal did not start")
        if timeout_ms > 0:
            self._timer = threading.Timer(timeout_ms / 1000, self._expire)
            self._timer.daemon = True
            self._timer.start()

    @property
    def id(self) -> str:
        """What ``attach`` wants, also in another process."""
        assert self._id is not None
        return self._id

    @property
    def exit_code(self) -> int | None:
        return self._exit_code

    def send_input(self, data: bytes | str) -> None:
        """Type: bytes as they are (``b"\\x03"`` is Ctrl-C), text as UTF-8."""
        if isinstance(data, str):
            data = data.encode()
        self._sandbox._transport.pty_input(self._sandbox.id, self.id, data)

    def resize(self, cols: int, rows: int) -> None:
        self._sandbox._transport.pty_resize(self._sandbox.id, self.id, cols, rows)

    def kill(self) -> None:
        """End the program and what it started. ``wait`` then returns."""
        self._sandbox._transport.pty_kill(self._sandbox.id, self.id)

    def read(
        self, since_seq: int = 0, max_bytes: int = 1 << 16, timeout_ms: int = 10_000
    ) -> tuple[bytes, int, int | None]:
        """What was shown from an offset on, the next offset, and the exit code once there is
        one. Waits until there is something. For those that want no callback."""
        answer = self._sandbox._transport.pty_read(
            self._sandbox.id, self.id, since_seq, max_bytes, timeout_ms
        )
        return base64.b64decode(answer["data_b64"]), answer["seq"], answer["exit_code"]

    def wait(self, timeout: float | None = None) -> int:
        """Until the program ends: its exit code, or -1 when the stream broke before."""
        if not self._ended.wait(timeout):
            raise TimeoutError("the program at the terminal has not ended in time")
        return -1 if self._exit_code is None else self._exit_code

    def close(self) -> None:
        """No more callbacks. The program goes on."""
        self._on_data = self._on_exit = None
        if self._timer:
            self._timer.cancel()

    def _expire(self) -> None:
        if not self._ended.is_set():
            try:
                self.kill()
            except PffsError:
                pass  # it has just ended

    def _consume(self, events: Iterator[Json]) -> None:
        try:
            for event in events:
                self._take(event)
        except Exception as error:
            self._error = error
        finally:
            if self._timer:
                self._timer.cancel()
            self._ready.set()
            self._ended.set()

    def _take(self, event: Json) -> None:
        kind = event.get("type")
        if kind == "pty_ready":
            self._id = event["session_id"]
            self._ready.set()
        elif kind == "pty_data":
            _call(self._on_data, base64.b64decode(event["data_b64"]))
        elif kind == "pty_exit":
            self._exit_code = int(event["data"])
            _call(self._on_exit, self._exit_code)
            self._ended.set()
        elif kind == "pty_error":
            self._error = ServerError(str(event.get("message", "")))
            self._ready.set()


def _call(callback: Callable[[Any], object] | None, value: object) -> None:
    """What a callback does wrong does not end the reading."""
    if callback is None:
        return
    try:
        callback(value)
    except Exception:
        traceback.print_exc()


class PtyNamespace:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def create(
        self,
        *,
        cmd: str | Sequence[str] = "",
        cols: int = 80,
        rows: int = 24,
        on_data: OnData | None = None,
        on_exit: OnExit | None = None,
        env: dict[str, str] | None = None,
        cwd: str | None = None,
        timeout_ms: int = 300_000,
    ) -> PtyHandle:
        """Start a program at a terminal: text for bash, a list of arguments, or nothing
        for a login shell. It is killed after ``timeout_ms``, unless that is 0, while
        this handle is there."""
        body: Json = {"cols": cols, "rows": rows}
        if isinstance(cmd, str):
            body["shellCmd"] = cmd or "exec bash -l"
        elif cmd:
            body["argv"] = list(cmd)
        else:
            raise ValueError("cmd has no program")
        if env:
            body["env"] = [[key, value] for key, value in env.items()]
        if cwd is not None:
            body["cwd"] = cwd
        events = self._sandbox._transport.pty_create(self._sandbox.id, body)
        return PtyHandle(self._sandbox, events, on_data, on_exit, None, timeout_ms)

    def attach(
        self, pty_id: str, *, on_data: OnData | None = None, on_exit: OnExit | None = None
    ) -> PtyHandle:
        """Come back to a session: what is kept of what it has shown comes first."""
        events = self._sandbox._transport.pty_attach(self._sandbox.id, pty_id)
        return PtyHandle(self._sandbox, events, on_data, on_exit, pty_id)

    def list(self) -> list[PtySessionInfo]:
        found = self._sandbox._transport.pty_list(self._sandbox.id)
        return [known(PtySessionInfo, info) for info in found]
