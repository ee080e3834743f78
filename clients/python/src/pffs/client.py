"""``Client``: a pffs. One may be shared by threads and by any number of sandboxes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

from pffs.mount import MountTransport
from pffs.transport import Transport
from pffs.types import Event, Json, Language, SandboxInfo, Template, known
from pffs.where import connect


class Client:
    """A connection to pffs.

    ``host`` is ``http://...``, a Unix socket, or the directory of a mount; without it,
    $PFFS_HOST, $PFFS_API, $PODFLARE_HOSTD_URL or $PODFLARE_HOST, else the pffs of this user that
    runs here, else http://127.0.0.1:7070. ``mount`` is a mount's directory alone.
    ``timeout`` is for connecting and for answers that are there at once; those that
    take long by nature may take long.
    """

    def __init__(
        self,
        host: str | os.PathLike[str] | None = None,
        timeout: float = 30.0,
        traceparent: str | None = None,
        api_key: str | None = None,
        *,
        mount: str | os.PathLike[str] | None = None,
    ) -> None:
        self.transport: Transport = (
            MountTransport(mount)
            if mount is not None
            else connect(host, api_key=api_key, timeout=timeout, traceparent=traceparent)
        )
        self.host = self.transport.address

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.host!r})"

    def close(self) -> None:
        self.transport.close()

    def healthz(self) -> bool:
        return self.transport.healthz()

    def info(self) -> Json:
        """Engine, version, how long it is up, and what it has given away."""
        return self.transport.host()

    def sandboxes(self) -> list[SandboxInfo]:
        return [known(SandboxInfo, info) for info in self.transport.sandboxes()]

    def events(self, since: int | None = None, follow: bool = True) -> Iterator[Json]:
        """What happens to any sandbox: from now on, or from the one whose ``seq`` is ``since``
        (0: all that are kept)."""
        return self.transport.events(None, since, follow)

    # Templates

    def templates(self) -> list[Template]:
        return [known(Template, info) for info in self.transport.templates()]

    def template(self, name: str) -> Template:
        return known(Template, self.transport.template(name))

    def make_template(self, sandbox: Any, name: str) -> Template:
        """Make a template of a sandbox, or of the one with that id, which it becomes."""
        sandbox_id = sandbox if isinstance(sandbox, str) else sandbox.id
        return known(Template, self.transport.make_template(sandbox_id, name))

    def set_default_template(self, name: str) -> None:
        self.transport.set_default_template(name)

    def delete_template(self, name: str) -> None:
        self.transport.delete_template(name)

    # What Podflare's Client has beyond these

    def create_sandbox(self, template: str | None = None, **options: Any) -> str:
        return str(self.create_sandbox_info(template, **options)["id"])

    def create_sandbox_info(self, template: str | None = None, **options: Any) -> Json:
        wanted = {"template": template, **options}
        return self.transport.create({k: v for k, v in wanted.items() if v is not None})

    def resume_space(self, space_id: str, **options: Any) -> Json:
        info = self.transport.resume(space_id)
        wanted = {key: value for key, value in options.items() if value is not None}
        return self.transport.configure(info["id"], wanted) if wanted else info

    def delete_space(self, space_id: str) -> None:
        self.transport.destroy(space_id, "keep")

    def destroy_sandbox(self, sandbox_id: str) -> None:
        self.transport.destroy(sandbox_id, "keep")

    def fork_sandbox(self, sandbox_id: str, n: int = 1) -> list[str]:
        return [str(child["id"]) for child in self.transport.fork(sandbox_id, n, ())]

    def merge_into(self, parent_id: str, winner_id: str) -> None:
        self.transport.merge_into(parent_id, winner_id)

    def replay(self, sandbox_id: str) -> list[Event]:
        return [Event.from_json(event) for event in self.transport.replay(sandbox_id)]

    def exec_stream(
        self, sandbox_id: str, code: str, language: Language = "python"
    ) -> Iterator[Event]:
        execution = self.transport.execute(sandbox_id, code, language)
        try:
            for event in execution:
                yield Event.from_json(event)
        finally:
            execution.close()


_shared: dict[tuple[str, ...], Client] = {}
_shared_lock = threading.Lock()


def shared_client(host: str | os.PathLike[str] | None = None) -> Client:
    """One Client for all sandboxes of one address, so that they share connections."""
    from pffs.where import HOST_VARIABLES, KEY_VARIABLES

    said = [os.environ.get(name, "") for name in (*HOST_VARIABLES, *KEY_VARIABLES)]
    key = (os.fspath(host) if host else "", *said)
    with _shared_lock:
        client = _shared.get(key)
        # Which pffs runs here may be another one by now.
        if client is None or (not any(key) and not client.healthz()):
            client = _shared[key] = Client(host)
        return client


def close_default_client(*, clear_disk_cache: bool = False) -> None:
    """Close the connections that sandboxes share. (There is no cache to clear.)"""
    with _shared_lock:
        clients = list(_shared.values())
        _shared.clear()
    for client in clients:
        client.close()
