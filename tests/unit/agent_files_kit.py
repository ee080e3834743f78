"""Requests about files to the guest's agent, on a folder of the test's own."""

import os
import struct
import tempfile

from agent_kit import FILES, same

LOOKUP, GETATTR, SETATTR, LIST, READLINK, OPEN, CLOSE, READ, WRITE, FSYNC = range(1, 11)
FALLOCATE, SEEK, COPY, MKDIR, MKNOD, SYMLINK, LINK, UNLINK, RMDIR, RENAME = range(11, 21)
STATFS, SETXATTR, REMOVEXATTR, FLOCK = 21, 23, 25, 28
WATCH, WAIT, EXCHANGE, O_READ, O_WRITE, O_CREAT, O_EXCL, O_TRUNC = 1, 1 << 2, 1 << 4, 1 << 5, 1 << 6, 1 << 7, 1 << 8, 1 << 9
KEEP, SET_MODE, SET_SIZE, SET_MTIME = 1 << 12, 1 << 16, 1 << 19, 1 << 21
ALL = 0xFFFFFFFF
IO_MAX = 256 << 10
IN_FLIGHT = 64
ATTR = struct.Struct("<QQIIIIIIQQqqq")

root = tempfile.TemporaryDirectory()
last = 1 << 20  # streams of requests, apart from those of runs


def path_of(name):
    return os.path.join(root.name, name)


def post(agent, op, path="", flags=0, handle=0, offset=0, size=0, data=b"", path2="", handle2=0, mode=0o644, mtime=0,
         stream=None):
    """Return: the number of the request, which is @stream or the next one."""
    global last
    last += stream is None
    stream = stream or last
    payload = struct.pack(
        "<BIIIIIIQQQQqq", op, flags, handle, handle2, mode, 0, 0, offset, 0, size, 0, 0, mtime
    )
    for text in (os.fsencode(path), os.fsencode(path2), data):
        payload += struct.pack("<I", len(text)) + text
    agent.send(FILES, stream, payload)
    return stream


class Attr:
    def __init__(self, payload, at):
        fields = ATTR.unpack_from(payload, at)
        self.ino, _, self.mode, self.nlink = fields[:4]
        self.size, _, _, self.mtime, self.ctime = fields[8:]

    def __eq__(self, other):
        return isinstance(other, Attr) and vars(self) == vars(other)

    def __repr__(self):
        return repr(vars(self))


class Reply:
    def __init__(self, payload):
        fields = struct.unpack_from("<iIiiQB", payload)
        self.error, self.handle, self.watch, self.watch2, self.value, has = fields
        at = 25
        self.links_told = bool(has >> 4)
        for bit, name in enumerate(("attr", "dir", "attr2", "dir2")):
            setattr(self, name, Attr(payload, at) if has >> bit & 1 else None)
            at += ATTR.size if has >> bit & 1 else 0
        (size,) = struct.unpack_from("<I", payload, at)
        self.data = payload[at + 4 :]
        same(len(self.data), size)

    def names(self):
        """Of a list: attributes by name."""
        at, names = 0, {}
        while at < len(self.data):
            attr = Attr(self.data, at)
            (size,) = struct.unpack_from("<I", self.data, at + ATTR.size + 8)
            at += ATTR.size + 12 + size
            names[self.data[at - size : at].decode()] = attr
        return names


def reply_to(agent, stream):
    agent.pump(lambda: stream in agent.replies)
    return Reply(agent.replies.pop(stream))


def ask(agent, *args, **kwargs):
    return reply_to(agent, post(agent, *args, **kwargs))


def server_pid(agent):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as file:
                name, _, rest = file.read().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if name == "pffs-files" and int(rest.split()[1]) == agent.process.pid and rest.split()[0] != "Z":
            return int(pid)
    return None
