"""A mount as a transport: pffs.transport.Transport by files."""

from __future__ import annotations

import os
from pathlib import Path

from pffs.errors import ConnectionFailed
from pffs.mount.files import FilesMixin
from pffs.mount.pty import PtyMixin
from pffs.mount.runs import RunsMixin
from pffs.mount.sandboxes import SandboxesMixin
from pffs.transport import Transport


def is_mount(path: str | os.PathLike[str]) -> bool:
    """Is the root of a pffs mounted here?"""
    return all(os.path.exists(os.path.join(path, name)) for name in ("host", "new", "templates"))


class MountTransport(SandboxesMixin, RunsMixin, FilesMixin, PtyMixin, Transport):
    def __init__(self, root: str | os.PathLike[str]) -> None:
        super().__init__(root)
        if not is_mount(root):
            raise ConnectionFailed(f"no pffs is mounted at {root}", code="ENOENT")
        self.root = Path(os.path.abspath(root))
        self.address = str(self.root)

    def close(self) -> None:
        """Nothing is kept open."""

    def healthz(self) -> bool:
        return is_mount(self.root)
