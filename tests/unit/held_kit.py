"""A guest with files that keeps what it is asked, and answers when the test wants it to."""
import errno
import functools
import os
import struct
import subprocess
import sys
import threading

import wait_kit
from liar_kit import (CHANGED, CLOSE, FLOCK, FSYNC, GETATTR, LIMIT, LIST, LOOKUP, OPEN, READ, REPLY,
                      SETATTR, SETLK, TEXT, WRITE, attr, directory, entry, reply)

O_READ, O_WRITE, O_CREAT, O_EXCL, O_TRUNC, O_APPEND = (1 << bit for bit in range(5, 11))
DROP_SUID, SET_SIZE = 1 << 13, 1 << 19
UNLOCK = 2  # F_UNLCK
until = functools.partial(wait_kit.until, seconds=LIMIT)


class File:
    def __init__(self, ino=7, data=TEXT, nlink=1):
        self.ino, self.data, self.nlink = ino, bytearray(data), nlink
        self.time_ns = 10**18

    def attr(self):
        return attr(size=len(self.data), ino=self.ino, nlink=self.nlink, time_ns=self.time_ns)

    def put(self, at, data):
        self.data.extend(bytes(max(0, at - len(self.data))))
        self.data[at:at + len(data)] = data
        self.time_ns += 1


class HeldGuest:
    """Its files are in its root directory. Requests of the operations in self.held are
    answered by release() or answer() only; self.ahead: small files come with being
    opened; self.watch: under which names are told."""

    def __init__(self, mount, name="demo"):
        self.mount, self.name = mount, name
        self.files = {b"file": File()}
        self.handles, self.last_handle = {}, 0
        self.asked, self.done = [], []
        self.held, self.ahead, self.watch = set(), False, -1
        self.news = threading.Condition()
        self.syncs = 0
        self.fs = mount.sandbox(name, self)

    def __call__(self, request):
        with self.news:
            self.asked.append(request)
            self.news.notify_all()
            return None if request.op in self.held else self.serve(request)

    def of(self, op):
        """What it was asked to do of one kind, in order."""
        with self.news:
            return [request for request in self.asked if request.op == op]

    def unanswered(self, op):
        return [request for request in self.of(op) if request not in self.done]

    def wait(self, op, count):
        """Until it was asked so often. Return: these requests."""
        with self.news:
            assert self.news.wait_for(lambda: len(self.of(op)) >= count, LIMIT), (
                "asked %d times of %d, not %d" % (len(self.of(op)), op, count))
        return self.of(op)

    def answer(self, request, answer=None):
        """To what is held: what is given, or what an honest guest would say."""
        with self.news:
            answer = answer or self.serve(request)
            self.done.append(request)
        self.mount.guests_by_name[self.name].send(REPLY, answer, request.stream)

    def release(self, op):
        """Hold requests of that kind no more, and answer what is held."""
        with self.news:
            self.held.discard(op)
            waiting = self.unanswered(op)
        for request in waiting:
            self.answer(request)

    def changed(self, watch):
        self.mount.guests_by_name[self.name].send(CHANGED, struct.pack("<I", watch))

    def settle(self):
        """Until pffs has acted on all that it was told, and the guest was asked what came of
        that: questions and answers are in order."""
        self.syncs += 1
        assert not os.path.exists("%s/none-%d" % (self.fs, self.syncs))

    def forget_handles(self):
        """As a new file server."""
        with self.news:
            self.handles = {}

    def serve(self, request):
        self.done.append(request)
        if request.op == OPEN:
            return self.open(request)
        if request.op == LOOKUP and request.path in self.files:
            return reply(attr=self.files[request.path].attr(), watch=self.watch, links_told=True)
        if request.op == LOOKUP:
            return reply(errno.ENOENT)
        if request.op == GETATTR and request.path == b"":
            return reply(attr=directory())
        if request.op == GETATTR:
            return reply(attr=self.files[request.path].attr())
        if request.op == SETATTR:
            file = self.handles.get(request.handle) or self.files[request.path]
            if request.flags & SET_SIZE:
                file.put(request.size, b"")
                del file.data[request.size:]
            return reply(attr=file.attr())
        if request.op == LIST:
            return reply(value=1, data=b"".join(
                entry(name, at + 1, file.attr())
                for at, (name, file) in enumerate(self.files.items())))
        if request.op in (CLOSE, READ, WRITE, FSYNC, SETLK, FLOCK):
            return self.by_handle(request)
        return reply()

    def open(self, request):
        file = self.files.get(request.path)
        if not file and request.flags & O_CREAT:
            file = self.files[request.path] = File(100 + len(self.files), b"")
        if not file:
            return reply(errno.ENOENT)
        if request.flags & O_TRUNC:
            del file.data[:]
        self.last_handle += 1
        self.handles[self.last_handle] = file
        ahead = self.ahead and len(file.data) <= request.size
        return reply(handle=self.last_handle, attr=file.attr(), value=int(ahead),
                     data=bytes(file.data) if ahead else b"")

    def by_handle(self, request):
        file = self.handles.get(request.handle)
        if not file:
            return reply(errno.EBADF)
        if request.op == CLOSE:
            del self.handles[request.handle]
        if request.op == READ:
            return reply(data=bytes(file.data[request.offset:request.offset + request.size]))
        if request.op == WRITE:
            return self.write(file, request)
        return reply()

    @staticmethod
    def write(file, request, size=None):
        data = request.data[:size]
        at = len(file.data) if request.flags & O_APPEND else request.offset
        file.put(at, data)
        return reply(value=len(data), attr=file.attr())


class Later(threading.Thread):
    """A call that may wait."""

    def __init__(self, call, *arguments):
        super().__init__(daemon=True)
        self.call, self.arguments, self.result, self.error = call, arguments, None, 0
        self.start()

    def run(self):
        try:
            self.result = self.call(*self.arguments)
        except OSError as error:
            self.error = error.errno

    def waits(self):
        self.join(0.2)
        return self.is_alive()

    def end(self):
        """Wait for it. Return: what it returned, or its errno."""
        self.join(LIMIT)
        assert not self.is_alive(), "it does not return"
        return self.error or self.result


def program(text, *arguments, **options):
    """A Python program that runs meanwhile; says what it prints. Its input ends with the test."""
    return subprocess.Popen([sys.executable, "-c", text] + list(arguments), text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
