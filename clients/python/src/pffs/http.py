"""A pffs reached by its HTTP socket: pffs.transport.Transport by docs/http.md.

Theory of operation: a connection is taken from a pool for a request and goes back when the
answer was read to its end; an answer that is left before that takes its connection
with it. A connection that the server has closed meanwhile is noticed before it is used
again, so that no request has to be sent twice; only where that is harmless is it, when
the server closes in the very moment.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import select
import socket
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Literal
from urllib.parse import quote, urlencode, urlsplit

from pffs.errors import (
    Conflict,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidRequest,
    MergeConflict,
    PffsError,
    of_status,
)
from pffs.transport import CHUNK, Stream, Transport, is_under
from pffs.types import Favour, Json, Language, Signal

POOL = 16  # idle connections that are kept

Body = bytes | BinaryIO | None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            sock.connect(self._path)
        except BaseException:
            sock.close()
            raise
        self.sock = sock


class _Pool:
    def __init__(self, address: str, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self.prefix = "" if address.startswith("unix:") else urlsplit(address).path.rstrip("/")

    def new(self) -> http.client.HTTPConnection:
        if self._address.startswith("unix:"):
            path = self._address.removeprefix("unix:")
            return _UnixConnection("/" + path.lstrip("/") if path[:2] == "//" else path, self._timeout)
        url = urlsplit(self._address)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise InvalidRequest(f"{self._address} is no address of a pffs", code="EINVAL")
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        return kind(url.hostname, url.port, timeout=self._timeout)

    def take(self) -> tuple[http.client.HTTPConnection, bool]:
        """A connection, and whether it was used before."""
        with self._lock:
            if self._pid != os.getpid():  # the parent's connections are not ours
                self._idle, self._pid = [], os.getpid()
            while self._idle:
                connection = self._idle.pop()
                if not _is_stale(connection):
                    return connection, True
                connection.close()
        return self.new(), False

    def give(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if len(self._idle) < POOL and self._pid == os.getpid():
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def _is_stale(connection: http.client.HTTPConnection) -> bool:
    """Has the server closed it? What is not asked for can only be that."""
    if connection.sock is None:
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


class _Answer:
    """An answer that is being read."""

    def __init__(
        self, pool: _Pool, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        self._pool = pool
        self._connection: http.client.HTTPConnection | None = connection
        self.response = response

    def read(self) -> bytes:
        try:
            with _broken():
                data = self.response.read()
            self._done()
            return data
        finally:
            self.close()

    def pieces(self) -> Generator[bytes, None, None]:
        """The body as it comes."""
        try:
            with _broken():
                while piece := self.response.read1(CHUNK):
                    yield piece
            self._done()
        finally:
            self.close()

    def lines(self) -> Iterator[Json]:
        """The objects of NDJSON as they come."""
        rest = b""
        with contextlib.closing(self.pieces()) as pieces:
            for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line:
                        yield json.loads(line)
        if rest:
            yield json.loads(rest)

    def _done(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        will_close = self.response.will_close
        self.response.close()  # read1() of the last bytes leaves it open
        if will_close:
            connection.close()
        else:
            self._pool.give(connection)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self.response.close()
            connection.close()


@contextlib.contextmanager
def _broken() -> Iterator[None]:
    """What can become of a connection, as our errors."""
    try:
        yield
    except PffsError:
        raise
    except TimeoutError as error:
        raise DeadlineExceeded("pffs did not answer in time", code="ETIMEDOUT") from error
    except (OSError, http.client.HTTPException) as error:
        what = str(error) or type(error).__name__
        raise ConnectionFailed(f"the connection to pffs broke: {what}", code="EIO") from error


class Execution:
    """The answer of POST exec: see pffs.transport.Execution."""

    def __init__(self, answer: _Answer) -> None:
        header = answer.response.getheader("Pffs-Run")
        self.number: int | None = int(header) if header else None
        self._answer = answer
        self._lines = answer.lines()

    def __iter__(self) -> Iterator[Json]:
        return self

    def __next__(self) -> Json:
        return next(self._lines)

    def close(self) -> None:
        self._answer.close()


class HttpTransport(Transport):
    def __init__(
        self,
        address: str,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        traceparent: str | None = None,
    ) -> None:
        self.address = address.rstrip("/")
        self._timeout = timeout
        self._pool = _Pool(self.address, timeout)
        self._headers: dict[str, str] = {"User-Agent": "pffs-python"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        if traceparent:
            self._headers["traceparent"] = traceparent

    # Asking

    def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        obj: Json | None = None,
        body: Body = None,
        headers: Mapping[str, str] | None = None,
        forever: bool = False,
    ) -> _Answer:
        """Send a request; its answer, of which the body is not read yet.

        ``forever``: it may take any time until the answer begins or goes on.
        """
        url = self._pool.prefix + path
        pairs = {key: value for key, value in (query or {}).items() if value is not None}
        if pairs:
            url += "?" + urlencode(pairs, doseq=True)
        sent = {**self._headers, **(headers or {})}
        if obj is not None:
            body = json.dumps(obj).encode()
            sent["Content-Type"] = "application/json"
        elif body is None and method in ("POST", "PUT", "PATCH"):
            sent["Content-Length"] = "0"
        answer = self._exchange(method, url, body, sent, forever)
        if answer.response.status >= 400:
            raise _refusal(answer)
        return answer

    def _exchange(
        self, method: str, url: str, body: Body, headers: Mapping[str, str], forever: bool
    ) -> _Answer:
        again = method in ("GET", "HEAD", "DELETE") and body is None
        while True:
            connection, used = self._pool.take()
            try:
                self._connect(connection)
                assert connection.sock is not None
                connection.sock.settimeout(None if forever else self._timeout)
                # A server that refuses answers before it has read all.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(method, url, body=body, headers=dict(headers))
                return _Answer(self._pool, connection, connection.getresponse())
            except BaseException as error:
                connection.close()
                if again and used and isinstance(error, (ConnectionError, http.client.HTTPException)):
                    continue
                with _broken():
                    raise

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        if connection.sock is not None:
            return
        try:
            connection.connect()
        except OSError as error:
            raise ConnectionFailed(
                f"there is no pffs at {self.address}: {error.strerror or error}", code="ECONNREFUSED"
            ) from error
        # The stubs of http.client take it to be None still.
        sock: Any = connection.sock
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def _json(self, method: str, path: str, **how: Any) -> Any:
        data = self._ask(method, path, **how).read()
        return json.loads(data) if data else {}

    @staticmethod
    def _of(sandbox: str, *rest: str | int) -> str:
        parts = ["/v1/sandboxes", quote(sandbox, safe=""), *(quote(str(p), safe="") for p in rest)]
        return "/".join(parts)

    def close(self) -> None:
        self._pool.close()

    def healthz(self) -> bool:
        try:
            return self._ask("GET", "/v1/healthz").read().strip() == b"ok"
        except PffsError:
            return False

    def host(self) -> Json:
        return dict(self._json("GET", "/v1/host"))

    # Sandboxes

    def create(self, options: Json) -> Json:
        return dict(self._json("POST", "/v1/sandboxes", obj=options, forever=True))

    def sandboxes(self) -> list[Json]:
        return list(self._json("GET", "/v1/sandboxes")["sandboxes"])

    def sandbox(self, sandbox: str) -> Json:
        return dict(self._json("GET", self._of(sandbox)))

    def configure(self, sandbox: str, options: Json) -> Json:
        return dict(self._json("PATCH", self._of(sandbox), obj=options))

    def destroy(self, sandbox: str, forks: Literal["keep", "refuse", "remove"]) -> None:
        query = {"forks": forks} if forks != "keep" else None
        self._ask("DELETE", self._of(sandbox), query=query, forever=True).read()

    def fork(self, sandbox: str, count: int, names: Sequence[str]) -> list[Json]:
        body: Json = {"names": list(names)} if names else {"n": count}
        made = self._json("POST", self._of(sandbox, "fork"), obj=body, forever=True)
        # Podflare's own server has ids alone.
        return list(made.get("sandboxes") or [{"id": c, "state": "ready"} for c in made["children"]])

    def merge_into(self, sandbox: str, winner: str) -> None:
        self._ask("POST", self._of(sandbox, "merge_into", winner), forever=True).read()

    def merge_files(self, sandbox: str, forks: Sequence[str], favour: Favour | None) -> str:
        body: Json = {"files": list(forks)}
        if favour:
            body["favour"] = favour
        answer = self._json("POST", self._of(sandbox, "merge"), obj=body, forever=True)
        return str(answer["report"])

    def freeze(self, sandbox: str) -> Json:
        return dict(self._json("POST", self._of(sandbox, "freeze"), forever=True))

    def resume(self, sandbox: str) -> Json:
        return dict(self._json("POST", self._of(sandbox, "resume"), forever=True))

    def control(self, sandbox: str, verb: Literal["interrupt", "kill", "reset"]) -> None:
        self._ask("POST", self._of(sandbox, verb)).read()

    def stats(self, sandbox: str) -> dict[str, int]:
        return dict(self._json("GET", self._of(sandbox, "stats")))

    # Runs

    def execute(
        self,
        sandbox: str,
        code: str,
        language: Language,
        stdin: str | bytes | None = None,
        timeout_seconds: float | None = None,
    ) -> Execution:
        body = _code(code, language, stdin, timeout_seconds)
        return Execution(self._ask("POST", self._of(sandbox, "exec"), obj=body, forever=True))

    def run(
        self,
        sandbox: str,
        code: str,
        language: Language,
        stdin: str | bytes | None = None,
        timeout_seconds: float | None = None,
        wait: bool = True,
    ) -> Json:
        rest = stdin if isinstance(stdin, bytes) else None
        body = _code(code, language, None if rest is not None else stdin, timeout_seconds)
        body["wait"] = wait and rest is None
        if rest is not None:
            body["stdin"] = True  # bytes come apart, as they are
        info = dict(self._json("POST", self._of(sandbox, "runs"), obj=body, forever=True))
        if rest is None:
            return info
        self._feed(sandbox, info["number"], rest)
        return self.run_info(sandbox, info["number"], wait)

    def _feed(self, sandbox: str, number: int, data: bytes) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        path = self._of(sandbox, "runs", number, "stdin")
        # A run that ended before it had read all wanted no more.
        with contextlib.suppress(Conflict):
            self._ask("PUT", path, body=data, headers=headers, forever=True).read()

    def runs(self, sandbox: str) -> list[Json]:
        return list(self._json("GET", self._of(sandbox, "runs"))["runs"])

    def run_info(self, sandbox: str, number: int | Literal["last"], wait: bool) -> Json:
        query = {"wait": "true"} if wait else None
        path = self._of(sandbox, "runs", number)
        return dict(self._json("GET", path, query=query, forever=True))

    def stop(self, sandbox: str, number: int, signal: Signal) -> None:
        self._ask("POST", self._of(sandbox, "runs", number, "stop"), obj={"signal": signal}).read()

    def output(
        self, sandbox: str, number: int, stream: Stream, follow: bool
    ) -> Iterator[bytes]:
        query = {"follow": "true"} if follow else None
        path = self._of(sandbox, "runs", number, stream)
        return self._ask("GET", path, query=query, forever=follow).pieces()

    def figure(self, sandbox: str, number: int, figure: int) -> bytes:
        return self._ask("GET", self._of(sandbox, "runs", number, "figures", figure)).read()

    def replay(self, sandbox: str) -> list[Json]:
        return list(self._ask("GET", self._of(sandbox, "replay")).lines())

    # Files

    def _file(self, sandbox: str, path: str) -> str:
        return self._of(sandbox, "files") + "/" + quote(path.lstrip("/"), errors="surrogateescape")

    def read_file(
        self, sandbox: str, path: str, offset: int, length: int | None
    ) -> Iterator[bytes]:
        if length == 0:
            return iter(())
        headers = {}
        if offset or length is not None:
            last = "" if length is None else str(offset + length - 1)
            headers["Range"] = f"bytes={offset}-{last}"
        try:
            return self._ask("GET", self._file(sandbox, path), headers=headers).pieces()
        except InvalidRequest as error:
            if error.status == 416:  # it ends before
                return iter(())
            raise

    def write_file(
        self, sandbox: str, path: str, data: bytes | BinaryIO, mode: int | None
    ) -> None:
        query = {"mode": f"{mode:04o}"} if mode is not None else None
        self._put(sandbox, path, data, query)

    def _put(
        self, sandbox: str, path: str, data: bytes | BinaryIO, query: Mapping[str, Any] | None
    ) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        if not isinstance(data, bytes):
            with contextlib.suppress(OSError, AttributeError):
                headers["Content-Length"] = str(_left(data))
        self._ask("PUT", self._file(sandbox, path), query=query, body=data, headers=headers, forever=True).read()

    def stat(self, sandbox: str, path: str) -> Json:
        return dict(self._json("GET", self._file(sandbox, path), query={"stat": "true"}))

    def list_dir(self, sandbox: str, path: str) -> list[Json]:
        answer = self._ask("GET", self._file(sandbox, path))
        if not (answer.response.getheader("Content-Type") or "").startswith("application/json"):
            answer.close()
            raise InvalidRequest(f"{path} is no directory", code="ENOTDIR", status=400)
        found = json.loads(answer.read())
        if not isinstance(found, dict) or "entries" not in found:
            raise InvalidRequest(f"{path} is no directory", code="ENOTDIR", status=400)
        return list(found["entries"])

    def make_dir(self, sandbox: str, path: str, mode: int | None) -> None:
        query = {"type": "directory", "mode": None if mode is None else f"{mode:04o}"}
        self._ask("PUT", self._file(sandbox, path), query=query).read()

    def remove(self, sandbox: str, path: str, recursive: bool) -> None:
        query = {"recursive": "true"} if recursive else None
        self._ask("DELETE", self._file(sandbox, path), query=query, forever=True).read()

    def read_tar(self, sandbox: str, path: str) -> Iterator[bytes]:
        return self._ask(
            "GET", self._file(sandbox, path), query={"format": "tar"}, forever=True
        ).pieces()

    def write_tar(self, sandbox: str, path: str, data: bytes | BinaryIO) -> None:
        self._put(sandbox, path, data, {"format": "tar"})

    def changes(self, sandbox: str, paths: Sequence[str]) -> dict[str, list[str]]:
        return self._three(self._of(sandbox, "changes"), paths)

    def diff(self, sandbox: str, target: str, paths: Sequence[str]) -> dict[str, list[str]]:
        return self._three(self._of(sandbox, "diff", target), paths)

    def _three(self, path: str, paths: Sequence[str]) -> dict[str, list[str]]:
        query = {"path": list(paths)} if paths else None
        found = self._json("GET", path, query=query, forever=True)
        return {
            key: [p for p in found[key] if is_under("/" + p.lstrip("/"), paths)]
            for key in ("added", "removed", "modified")
        }

    def patch(self, sandbox: str, target: str | None, paths: Sequence[str]) -> bytes:
        path = self._of(sandbox, "changes") if target is None else self._of(sandbox, "diff", target)
        query = {"format": "patch", "path": list(paths)}
        return self._ask("GET", path, query=query, forever=True).read()

    # Terminals

    def pty_create(self, sandbox: str, body: Json) -> Iterator[Json]:
        return self._ask("POST", self._of(sandbox, "pty"), obj=body, forever=True).lines()

    def pty_attach(self, sandbox: str, pty: str) -> Iterator[Json]:
        return self._ask("GET", self._of(sandbox, "pty", pty, "attach"), forever=True).lines()

    def pty_list(self, sandbox: str) -> list[Json]:
        return list(self._json("GET", self._of(sandbox, "pty")))

    def pty_input(self, sandbox: str, pty: str, data: bytes) -> None:
        body = {"data_b64": base64.b64encode(data).decode()}
        self._ask("POST", self._of(sandbox, "pty", pty, "input"), obj=body).read()

    def pty_resize(self, sandbox: str, pty: str, cols: int, rows: int) -> None:
        body = {"cols": cols, "rows": rows}
        self._ask("POST", self._of(sandbox, "pty", pty, "resize"), obj=body).read()

    def pty_kill(self, sandbox: str, pty: str) -> None:
        self._ask("POST", self._of(sandbox, "pty", pty, "kill")).read()

    def pty_read(
        self, sandbox: str, pty: str, since: int, max_bytes: int, timeout_ms: int
    ) -> Json:
        body = {"since_seq": since, "max_bytes": max_bytes, "timeout_ms": timeout_ms}
        path = self._of(sandbox, "pty", pty, "read")
        return dict(self._json("POST", path, obj=body, forever=True))

    # Events, templates

    def events(
        self, sandbox: str | None, since: int | None, follow: bool
    ) -> Iterator[Json]:
        path = self._of(sandbox, "events") if sandbox else "/v1/events"
        query = {"since": since, "follow": None if follow else "false"}
        headers = {"Accept": "application/x-ndjson"}
        return self._ask("GET", path, query=query, headers=headers, forever=True).lines()

    def templates(self) -> list[Json]:
        return list(self._json("GET", "/v1/templates")["templates"])

    @staticmethod
    def _template(name: str) -> str:
        return "/v1/templates/" + quote(name, safe="")

    def template(self, name: str) -> Json:
        return dict(self._json("GET", self._template(name)))

    def make_template(self, sandbox: str, name: str) -> Json:
        body = {"sandbox": sandbox, "name": name}
        return dict(self._json("POST", "/v1/templates", obj=body, forever=True))

    def set_default_template(self, name: str) -> Json:
        return dict(self._json("PATCH", self._template(name), obj={"default": True}))

    def delete_template(self, name: str) -> None:
        self._ask("DELETE", self._template(name), forever=True).read()


def _code(
    code: str, language: Language, stdin: str | bytes | None, timeout_seconds: float | None
) -> Json:
    body: Json = {"code": code, "language": language}
    if isinstance(stdin, bytes):
        try:
            stdin = stdin.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(
                "stdin of run_code is text; run() takes any bytes", code="EINVAL"
            ) from error
    if stdin is not None:
        body["stdin"] = stdin
    if timeout_seconds is not None:
        body["timeout_seconds"] = timeout_seconds
    return body


def _left(file: BinaryIO) -> int:
    """How many bytes a file has yet to give."""
    at = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(at)
    return end - at


def _refusal(answer: _Answer) -> PffsError:
    status = answer.response.status
    data = answer.read()
    try:
        said = json.loads(data)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        text = data.decode("utf-8", "replace").strip()
        return of_status(status, text or f"the server answered {status} {answer.response.reason}")
    if said.get("merged") is False:
        conflict = MergeConflict(
            said.get("error", "both sides changed the same files"), code="EBUSY", status=status
        )
        conflict.report = str(said.get("report", ""))
        return conflict
    return of_status(status, str(said.get("error", status)), str(said.get("code", "")))
