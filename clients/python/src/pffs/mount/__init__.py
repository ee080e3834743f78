"""A pffs reached by the files of its mount: no socket, no server, open and mkdir alone."""

from pffs.mount.transport import MountTransport, is_mount

__all__ = ["MountTransport", "is_mount"]
