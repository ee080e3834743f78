"""One bash in a sandbox that goes on from command to command: directory, variables, functions
and background jobs stay.

It runs at a terminal of its own, where nothing but the end of a command is shown: what a
command puts out goes to a file, so that it comes back as it was. Without a terminal for its
input a command sees the end of file. A fork of the sandbox has the shell, too.
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
import threading
import time

from pffs.errors import PffsError
from pffs.pty import PtyHandle
from pffs.sandbox import Sandbox

START_LIMIT = 60.0


class ShellEnded(Exception):
    """The shell is gone, and the next command gets a new one. ``output`` is what came until then."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


class Shell:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._pty: PtyHandle | None = None
        self._folder = ""
        self._shown = b""
        self._changed = threading.Condition()
        self._one_at_a_time = threading.Lock()

    def run(self, command: str, timeout: float) -> tuple[str, int]:
        """Run a command to its end: what it put out, and its exit code. Raises ShellEnded."""
        with self._one_at_a_time:
            if self._pty is None or self._pty.exit_code is not None:
                self._start()
            return self._run(command, timeout)

    def restart(self) -> None:
        with self._one_at_a_time:
            self._end()

    def close(self) -> None:
        self.restart()

    def _start(self) -> None:
        self._end()
        self._folder = f"/tmp/.pffs-shell-{secrets.token_hex(4)}"
        self._sandbox.files.mkdir(self._folder, 0o700)
        self._shown = b""
        mark = self._mark()
        self._pty = self._sandbox.pty.create(
            cmd="stty -echo; exec bash --noprofile --norc",
            env={"TERM": "dumb", "PAGER": "cat", "PS1": "", "PS2": ""},
            cwd="/root",
            on_data=self._hear,
            on_exit=self._hear,
            timeout_ms=0,
        )
        self._pty.send_input(f"PS1= PS2=; printf '%s\\n' {mark[0]}{mark[1]}\r")
        if self._wait_for(mark, START_LIMIT) is None:
            self._end()
            raise ShellEnded("The shell did not start.", "")

    @staticmethod
    def _mark() -> tuple[str, str]:
        """In two parts, since an echo of the command is not the command."""
        return secrets.token_hex(8) + "''", secrets.token_hex(8)

    def _hear(self, what: bytes | int) -> None:
        with self._changed:
            if isinstance(what, bytes):
                self._shown = (self._shown + what)[-65536:]
            self._changed.notify_all()

    def _wait_for(self, mark: tuple[str, str], limit: float) -> str | None:
        """What follows the mark in its line; None when it does not come."""
        wanted = (mark[0][:-2] + mark[1]).encode()
        deadline = time.monotonic() + limit
        pty = self._pty
        assert pty is not None
        with self._changed:
            while True:
                _, found, after = self._shown.partition(wanted)
                if found and b"\n" in after:
                    return after.split(b"\n")[0].decode("ascii", "replace").strip()
                left = deadline - time.monotonic()
                if left <= 0 or pty.exit_code is not None:
                    return None
                self._changed.wait(left)

    def _run(self, command: str, timeout: float) -> tuple[str, int]:
        assert self._pty is not None
        name = f"{self._folder}/{secrets.token_hex(4)}"
        code, out = shlex.quote(name), shlex.quote(name + ".out")
        mark = self._mark()
        self._sandbox.files.write(name, command + "\n")
        self._shown = b""
        self._pty.send_input(
            f"{{ . {code}; }} </dev/null >{out} 2>&1; printf '%s %d\\n' {mark[0]}{mark[1]} $?\r"
        )
        said = self._wait_for(mark, timeout)
        output = ""
        with contextlib.suppress(PffsError):
            output = self._sandbox.files.read(name + ".out").decode("utf-8", "replace")
            self._sandbox.files.remove(name)
            self._sandbox.files.remove(name + ".out")
        if said is not None:
            return output, int(said)
        ended = self._pty.exit_code
        self._end()
        if output and not output.endswith("\n"):
            output += "\n"
        raise ShellEnded(
            f"The command did not end within {timeout:g} seconds, and the shell was ended with it."
            if ended is None
            else f"The shell ended with exit code {ended}.",
            output,
        )

    def _end(self) -> None:
        pty, self._pty = self._pty, None
        with contextlib.suppress(PffsError):
            if pty is not None and pty.exit_code is None:
                pty.kill()
        if self._folder:
            with contextlib.suppress(PffsError):
                self._sandbox.files.remove(self._folder, recursive=True)
            self._folder = ""
