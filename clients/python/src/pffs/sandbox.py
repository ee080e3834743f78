"""``Sandbox``: a virtual machine to run code in."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pffs.client import Client, shared_client
from pffs.files import HOME, Files, in_guest
from pffs.pty import PtyNamespace
from pffs.runs import Run, Runs, RunStream, absolute
from pffs.transport import Transport
from pffs.types import Event, ExecResult, Favour, Json, Language, SandboxInfo, Signal, known

#: What ``diff`` compares when it is not told.
DIFF_PATHS = ("/root", "/tmp")
_CONFIGURABLE = frozenset(
    "name idle_timeout_seconds max_lifetime_seconds timeout_seconds exec_timeout_seconds persistent "
    "memory_mib ram_mib disk_mib rootfs_gb vcpus pids cpu_percent egress".split()
)


class Sandbox:
    """A sandbox, made when this is called, and gone with ``close()`` or at the end of
    ``with``. ``Sandbox.get(id)`` is one that is there.

    Python keeps its variables from run to run; bash is a fresh shell each time, on
    the same files.
    """

    id: str

    def __init__(
        self,
        *,
        template: str | None = None,
        name: str | None = None,
        host: str | os.PathLike[str] | None = None,
        client: Client | None = None,
        traceparent: str | None = None,
        api_key: str | None = None,
        timeout_seconds: float | None = None,
        max_lifetime_seconds: float | None = None,
        idle_timeout_seconds: float | None = None,
        exec_timeout_seconds: float | None = None,
        ram_mib: int | None = None,
        memory_mib: int | None = None,
        rootfs_gb: int | None = None,
        disk_mib: int | None = None,
        vcpus: int | None = None,
        pids: int | None = None,
        cpu_percent: int | None = None,
        persistent: bool | None = None,
        egress: bool | str | None = None,
        region: str | None = None,
    ) -> None:
        """Make a sandbox; all is optional.

        ``timeout_seconds`` and ``max_lifetime_seconds`` are the same: how long it may live.
        ``idle_timeout_seconds``: how long nobody may use it until it goes, or, if it is
        ``persistent``, is frozen. ``exec_timeout_seconds`` is the limit of each run. ``egress``: what
        may leave it, ``"on"`` (or ``True``), ``"off"`` (or ``False``) or ``"allow"``. ``region`` is
        accepted, too: pffs is where ``host`` says.
        """
        self._attach(*_client(client, host, traceparent, api_key))
        options: Json = {
            "template": template,
            "name": name,
            "timeout_seconds": timeout_seconds,
            "max_lifetime_seconds": max_lifetime_seconds,
            "idle_timeout_seconds": idle_timeout_seconds,
            "exec_timeout_seconds": exec_timeout_seconds,
            "ram_mib": ram_mib,
            "memory_mib": memory_mib,
            "rootfs_gb": rootfs_gb,
            "disk_mib": disk_mib,
            "vcpus": vcpus,
            "pids": pids,
            "cpu_percent": cpu_percent,
            "persistent": persistent,
            "egress": egress,
        }
        wanted = {key: value for key, value in options.items() if value is not None}
        self.id = str(self._transport.create(wanted)["id"])

    def _attach(self, client: Client, owned: bool) -> None:
        self._client = client
        self._owns_client = owned
        self._transport: Transport = client.transport
        self._merged = False
        self.files = Files(self)
        self.runs = Runs(self)
        self.pty = PtyNamespace(self)

    @classmethod
    def _of(cls, sandbox_id: str, client: Client, owned: bool = False) -> Sandbox:
        sandbox = cls.__new__(cls)
        sandbox._attach(client, owned)
        sandbox.id = sandbox_id
        return sandbox

    @classmethod
    def get(
        cls,
        sandbox: str,
        *,
        host: str | os.PathLike[str] | None = None,
        client: Client | None = None,
        traceparent: str | None = None,
        api_key: str | None = None,
    ) -> Sandbox:
        """A sandbox that is there: by its id, its name, or its path in the mount."""
        client, owned = _client(client, host, traceparent, api_key)
        return cls._of(str(client.transport.sandbox(sandbox)["id"]), client, owned)

    @staticmethod
    def list(
        *,
        host: str | os.PathLike[str] | None = None,
        client: Client | None = None,
        api_key: str | None = None,
    ) -> builtins.list[SandboxInfo]:
        return _client(client, host, None, api_key)[0].sandboxes()

    def resume(
        space_id: Sandbox | str,  # noqa: N805
        *,
        region: str | None = None,
        host: str | os.PathLike[str] | None = None,
        client: Client | None = None,
        traceparent: str | None = None,
        api_key: str | None = None,
        **options: Any,
    ) -> Sandbox:
        """Resume what is frozen: ``sandbox.resume()``, or ``Sandbox.resume(id)``.

        (Any other use of a frozen sandbox resumes it, too.)
        """
        if isinstance(space_id, Sandbox):
            space_id._transport.resume(space_id.id)
            return space_id
        client, owned = _client(client, host, traceparent, api_key)
        return Sandbox._of(str(client.resume_space(space_id, **options)["id"]), client, owned)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Sandbox({self.id!r})"

    # Running code

    def run_code(
        self,
        code: str,
        language: Language = "python",
        *,
        stdin: str | bytes | None = None,
        timeout_seconds: float | None = None,
    ) -> ExecResult:
        """Run code to its end. ``stdout`` and ``stderr`` are without the last newline."""
        lines: dict[str, builtins.list[str]] = {"stdout": [], "stderr": []}
        exit_code = -1
        with self.run_code_stream(
            code, language, stdin=stdin, timeout_seconds=timeout_seconds
        ) as events:
            for event in events:
                if event.type == "exit":
                    exit_code = int(event.data)
                else:
                    lines[event.type].append(str(event.data))
        return ExecResult(
            "\n".join(lines["stdout"]), "\n".join(lines["stderr"]), exit_code, events.run
        )

    def run_code_stream(
        self,
        code: str,
        language: Language = "python",
        *,
        stdin: str | bytes | None = None,
        timeout_seconds: float | None = None,
    ) -> RunStream:
        """Begin to run code; its lines as they come."""
        execution = self._transport.execute(self.id, code, language, stdin, timeout_seconds)
        return RunStream(self, execution)

    def run(
        self,
        code: str,
        language: Language = "python",
        *,
        stdin: str | bytes | None = None,
        timeout_seconds: float | None = None,
    ) -> Run:
        """Run code to its end, and all that came of it: exact output, changed files,
        figures."""
        info = self._transport.run(self.id, code, language, stdin, timeout_seconds, True)
        return Run(self, info["number"], info)

    def stop(self, signal: Signal = "kill") -> None:
        """Stop the run that goes on. ``interrupt`` is KeyboardInterrupt: Python keeps its
        variables."""
        self._transport.control(self.id, signal)

    def reset(self) -> None:
        """A new Python."""
        self._transport.control(self.id, "reset")

    def replay(self) -> builtins.list[Event]:
        """The newest 1,000 events of the runs that are kept."""
        return [Event.from_json(event) for event in self._transport.replay(self.id)]

    # Forks

    def fork(self, n: int = 1, *, names: Sequence[str] = ()) -> builtins.list[Sandbox]:
        """Fork it while it runs, memory and all, ``n`` times, or once for each name."""
        if n < 1:
            raise ValueError("n is at least 1")
        made = self._transport.fork(self.id, n, names)
        return [Sandbox._of(str(info["id"]), self._client) for info in made]

    def merge_into(self, winner: Sandbox) -> None:
        """Become what a fork has become, memory and all. The fork goes."""
        if winner.id == self.id:
            raise ValueError("a sandbox cannot be merged into itself")
        self._transport.merge_into(self.id, winner.id)
        winner._merged = True

    def merge_files(self, *forks: Sandbox | str, favour: Favour | None = None) -> str:
        """Merge what forks changed in their files into this one's, three ways. Returns a
        report. Conflicts, unless one side is favoured, are a MergeConflict, and change
        nothing."""
        names = [fork if isinstance(fork, str) else fork.id for fork in forks]
        return self._transport.merge_files(self.id, names, favour)

    def diff(
        self, other: Sandbox | str, paths: Sequence[str] | None = None
    ) -> dict[str, builtins.list[str]]:
        """How the files of another sandbox (or ``"parent"``, ``"template"``) differ from these:
        ``added`` are those that only the other has. Below ``paths``: /root and /tmp unless
        given; ``["/"]`` is everything."""
        target = other if isinstance(other, str) else other.id
        wanted = DIFF_PATHS if paths is None else paths
        return _absolute(self._transport.diff(self.id, target, _tops(wanted)))

    def changes(self, paths: Sequence[str] = ()) -> dict[str, builtins.list[str]]:
        """What its files have become since it was made, or forked."""
        return _absolute(self._transport.changes(self.id, _tops(paths)))

    def patch(self, other: Sandbox | str | None = None, paths: Sequence[str] = ()) -> bytes:
        """``diff``, or ``changes``, as a patch for ``patch -p1`` and ``git apply``."""
        target = other if other is None or isinstance(other, str) else other.id
        return self._transport.patch(self.id, target, _tops(paths))

    # Files

    def upload(self, source: str | bytes, target: str | bytes) -> None:
        """Put a file into the sandbox: ``upload("local.csv", "/root/data.csv")``,
        ``upload(b"...", "data.csv")``, or ``upload("data.csv", b"...")``. A path that is not
        absolute is one below /root."""
        if isinstance(target, bytes):
            source, target = target, source
        if isinstance(target, bytes):
            raise TypeError("upload takes the bytes, or a local path, and a path")
        if isinstance(source, (bytes, bytearray, memoryview)):
            self.files.write(target, bytes(source))
            return
        with open(source, "rb") as file:
            self.files.write(target, file)

    def download(self, path: str, local_path: str | None = None) -> bytes:
        """The bytes of a file. With ``local_path`` they are written there instead, and may
        be more than memory holds."""
        if local_path is None:
            return self.files.read(path)
        with open(local_path, "wb") as file:
            for piece in self.files.chunks(path):
                file.write(piece)
        return b""

    # How it is

    def info(self) -> SandboxInfo:
        return known(SandboxInfo, self._transport.sandbox(self.id))

    def stats(self) -> dict[str, int]:
        """What it uses: CPU time, memory, disk, and the limits of these."""
        return self._transport.stats(self.id)

    def configure(self, **options: Any) -> SandboxInfo:
        """Change its limits (the names are those of ``Sandbox()``) or its ``name``."""
        unknown = sorted(options.keys() - _CONFIGURABLE)
        if unknown:
            raise TypeError(f"configure() got an unexpected keyword argument {unknown[0]!r}")
        return known(SandboxInfo, self._transport.configure(self.id, options))

    def events(self, since: int | None = None, follow: bool = True) -> Iterator[Json]:
        """What happens to it: from now on, or from the event whose ``seq`` is ``since`` (0: all
        that are kept)."""
        return self._transport.events(self.id, since, follow)

    def freeze(self) -> SandboxInfo:
        """To disk, memory and all. What uses it resumes it."""
        return known(SandboxInfo, self._transport.freeze(self.id))

    def close(self, forks: Literal["keep", "refuse", "remove"] = "keep") -> None:
        """Destroy it; a second time does nothing. Its forks live on, unless they are to go
        as well."""
        try:
            if not self._merged:
                self._transport.destroy(self.id, forks)
        finally:
            if self._owns_client:
                self._client.close()


def _client(
    client: Client | None,
    host: str | os.PathLike[str] | None,
    traceparent: str | None,
    api_key: str | None,
) -> tuple[Client, bool]:
    """The client to use, and whether it is its sandbox's own."""
    if client is not None:
        return client, False
    if traceparent is None and api_key is None:
        return shared_client(host), False
    return Client(host, traceparent=traceparent, api_key=api_key), True


def _tops(paths: Sequence[str]) -> list[str]:
    """Paths to restrict something to; all of them is none."""
    tops = [in_guest(path) for path in paths]
    return [] if "/" in tops else tops


def _absolute(found: dict[str, list[str]]) -> dict[str, list[str]]:
    return {key: sorted(absolute(path) for path in paths) for key, paths in found.items()}


__all__ = ["HOME", "Sandbox"]
