"""Terminals by the directories in ``pty/``."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import select
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from pffs.errors import InvalidRequest, NotFound
from pffs.mount.tree import Tree, put, told_by
from pffs.transport import CHUNK
from pffs.types import Json



def command_of(body: Json) -> str:
    """The line that bash is to run, of what POST pty takes."""
    if "argv" in body:
        command = "exec " + shlex.join(body["argv"])
    else:
        command = body.get("shellCmd", "")
    before = [f"export {key}={shlex.quote(value)}" for key, value in body.get("env") or []]
    if body.get("cwd"):
        before.append(f"cd {shlex.quote(body['cwd'])}")
    if before:
        command = " && ".join([*before, command or "exec bash -l"])
    if "\n" in command:  # the file takes one line
        escaped = command.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        command = f"eval $'{escaped}'"
    return command


class PtyMixin(Tree):
    def pty_create(self, sandbox: str, body: Json) -> Iterator[Json]:
        place = self.dir(sandbox)
        pty = place / "pty" / f"pty-{secrets.token_hex(6)}"
        command = command_of(body)
        with told_by(place):
            os.mkdir(pty)
            try:
                put(pty / "size", f"{body.get('rows', 24)} {body.get('cols', 80)}\n")
                if command:
                    put(pty / "command", command + "\n")
                fd = os.open(pty / "data", os.O_RDONLY)
            except BaseException:
                os.rmdir(pty)
                raise
        return self._shown(pty, fd, ready=True)

    def pty_attach(self, sandbox: str, pty: str) -> Iterator[Json]:
        place = self._pty(sandbox, pty)
        with told_by(self.dir(sandbox)):
            fd = os.open(place / "data", os.O_RDONLY)
        return self._shown(place, fd, ready=False)

    def _pty(self, sandbox: str, pty: str) -> Path:
        place = self.dir(sandbox) / "pty" / pty
        if "/" in pty or pty.startswith(".") or not place.is_dir():
            raise NotFound(f"there is no terminal {pty}", code="ENOENT", status=404)
        return place

    @staticmethod
    def _shown(pty: Path, fd: int, ready: bool) -> Iterator[Json]:
        """What is shown, from the oldest that is kept, until the program ends."""
        with open(fd, "rb", buffering=0) as data:
            exit_fd = os.open(pty / "exit", os.O_RDONLY)
            with open(exit_fd, "rb", buffering=0) as ended:
                if ready:
                    yield {"type": "pty_ready", "session_id": pty.name}
                with contextlib.suppress(OSError):
                    while piece := data.read(CHUNK):
                        text = base64.b64encode(piece).decode()
                        yield {"type": "pty_data", "data_b64": text}
                code = int(ended.read(16) or b"129")
                with contextlib.suppress(OSError):
                    os.rmdir(pty)
                yield {"type": "pty_exit", "data": code}

    def pty_list(self, sandbox: str) -> list[Json]:
        place = self.dir(sandbox)
        found = []
        for name in self._names(place / "pty"):
            with contextlib.suppress(OSError):
                pty = place / "pty" / name
                found.append(
                    {
                        "pty_id": name,
                        "cmd_label": (pty / "command").read_text().strip(),
                        "created_at_ms": int(pty.stat().st_ctime * 1000),
                        "exit_code": _exit_code(pty),
                    }
                )
        return found

    def pty_input(self, sandbox: str, pty: str, data: bytes) -> None:
        place = self._pty(sandbox, pty)
        with told_by(self.dir(sandbox)):
            fd = os.open(place / "data", os.O_WRONLY)
            try:
                view = memoryview(data)
                while view:
                    try:
                        view = view[os.write(fd, view) :]
                    except BlockingIOError:  # the program has not read the last mebibyte
                        time.sleep(0.02)
            finally:
                os.close(fd)

    def pty_resize(self, sandbox: str, pty: str, cols: int, rows: int) -> None:
        place = self._pty(sandbox, pty)
        with told_by(self.dir(sandbox)):
            put(place / "size", f"{rows} {cols}\n")

    def pty_kill(self, sandbox: str, pty: str) -> None:
        place = self._pty(sandbox, pty)
        with told_by(self.dir(sandbox)):
            os.rmdir(place)

    def pty_read(
        self, sandbox: str, pty: str, since: int, max_bytes: int, timeout_ms: int
    ) -> Json:
        if max_bytes < 1:
            raise InvalidRequest("max_bytes is at least 1", code="EINVAL", status=400)
        place = self._pty(sandbox, pty)
        fd = os.open(place / "data", os.O_RDONLY | os.O_NONBLOCK)
        with told_by(self.dir(sandbox)), open(fd, "rb", buffering=0) as data:
            with contextlib.suppress(OSError):
                since = max(since, os.lseek(fd, since, os.SEEK_DATA))
            os.lseek(fd, since, os.SEEK_SET)
            piece = data.read(max_bytes)
            if piece is None:
                poll = select.poll()
                poll.register(fd, select.POLLIN)
                poll.poll(timeout_ms)
                piece = data.read(max_bytes)
        piece = piece or b""
        return {
            "data_b64": base64.b64encode(piece).decode(),
            "seq": since + len(piece),
            "exit_code": _exit_code(place),
        }


def _exit_code(pty: Path) -> int | None:
    try:
        fd = os.open(pty / "exit", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    with open(fd, "rb", buffering=0) as file:
        text = file.read(16)
    return int(text) if text else None
