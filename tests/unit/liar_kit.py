"""A mount whose guests lie: pffs, and in vmctl's place a server whose guests are Python.

A guest is a function that is asked about files and answers with bytes: see honest(). A
test gives a sandbox another one by its name.
"""
import os
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

import json

from broker_kit import CONTROL, CREDIT, DATA, HELLO, PATIENCE, WINDOW, end, main, skip

HERE = os.path.dirname(os.path.abspath(__file__))
PFFS = os.environ.get("PFFS", os.path.join(HERE, "../../pffs/pffs"))
(LOOKUP, GETATTR, SETATTR, LIST, READLINK, OPEN, CLOSE, READ, WRITE, FSYNC) = range(1, 11)
RENAME, STATFS, GETXATTR, LISTXATTR, SETLK, FLOCK = 20, 21, 22, 24, 27, 28
TREE, MARK, SINCE = 29, 30, 31
WAKE, FILES, READY, AWAKE, REPLY, CHANGED = 1, 8, 64, 71, 72, 73
ENOENT, EIO = 2, 5
TEXT = b"what is in the file\n"
LIMIT = 20  # seconds that anything may take


def error_of(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return error.errno
    return 0


def attr(mode=stat.S_IFREG | 0o644, size=len(TEXT), ino=7, nlink=1, rdev=0, time_ns=10**18):
    return struct.pack("<QQIIIIIIQQqqq", ino, 1, mode, nlink, 0, 0, rdev, 4096, size, 8,
                       time_ns, time_ns, time_ns)


def directory(ino=1):
    return attr(stat.S_IFDIR | 0o755, 4096, ino, 2)


def reply(error=0, handle=0, watch=-1, value=0, attr=None, data=b"", links_told=False):
    has = (attr is not None) | links_told << 4
    return (struct.pack("<IIiiQB", error, handle, watch, 0, value, has)
            + (attr or b"") + struct.pack("<I", len(data)) + data)


def entry(name, cookie, attr=attr()):
    return attr + struct.pack("<QI", cookie, len(name)) + name


class Request:
    def __init__(self, payload):
        (self.op, self.flags, self.handle, _, self.mode, _, _, self.offset, _, self.size,
         self.owner, _, _) = struct.unpack_from("<BIIIIIIQQQQqq", payload)
        at = struct.calcsize("<BIIIIIIQQQQqq")
        size = struct.unpack_from("<I", payload, at)[0]
        self.path = payload[at + 4:at + 4 + size]
        at += 4 + size
        size = struct.unpack_from("<I", payload, at)[0]
        self.path2 = payload[at + 4:at + 4 + size]
        at += 4 + size
        self.data = payload[at + 4:]


def honest(request):
    """A root directory with one file in it."""
    if request.op in (LOOKUP, GETATTR, OPEN) and request.path == b"file":
        return reply(handle=3 if request.op == OPEN else 0, attr=attr())
    if request.op == GETATTR and request.path == b"":
        return reply(attr=directory())
    if request.op == GETATTR:
        return reply(attr=attr())
    if request.op == LIST:
        return reply(value=1, data=entry(b"file", 1))
    if request.op == READ:
        return reply(data=TEXT[request.offset:request.offset + request.size])
    if request.op == WRITE:
        return reply(value=len(request.data), attr=attr())
    return reply(ENOENT if request.op == LOOKUP else 0)


class Guest:
    def __init__(self, server, vm):
        self.server, self.vm = server, vm
        self.buf = b""
        self.epoch = 0
        self.name = None
        self.out, self.credit, self.owed = b"", WINDOW, 0

    def send(self, kind, payload=b"", stream=0):
        self.send_bytes(struct.pack("<IIBBH", len(payload), stream, kind, 0, self.epoch) + payload)

    def send_bytes(self, data):
        with self.server.lock:
            self.out += data
            self.flush()

    def flush(self, credit=0):
        with self.server.lock:
            self.credit += credit
            piece, self.out = self.out[:self.credit], self.out[self.credit:]
            self.credit -= len(piece)
            if piece:
                self.server.send(DATA, piece, self.vm)

    def take(self, data):
        self.buf += data
        while len(self.buf) >= 12:
            size, stream, kind, _, epoch = struct.unpack_from("<IIBBH", self.buf)
            if len(self.buf) < 12 + size:
                break
            payload, self.buf = self.buf[12:12 + size], self.buf[12 + size:]
            if kind == WAKE:
                self.wake(epoch, payload)
            elif kind == FILES:
                self.ask(stream, Request(payload))
        self.server.send(CREDIT, struct.pack("<I", len(data)), self.vm)

    def wake(self, _, payload):
        self.epoch = struct.unpack_from("<H", payload)[0]
        self.server.guests_by_name.update(
            {name: self for name in self.server.lies if name.encode() in payload})
        self.name = next((n for n in self.server.lies if n.encode() in payload), None)
        self.send(AWAKE, b"\1")  # it can be asked for moments

    def ask(self, stream, request):
        request.stream = stream
        answer = self.server.lies.get(self.name, honest)(request)
        if answer is not None:
            self.send(REPLY, answer, stream)


class LyingMount:
    """A mount at self.path; self.lies[NAME] is what guest NAME answers.

    self.used[VM] is what vmctl says that a machine uses; None for no answer.
    """

    def __init__(self, work, options=()):
        self.lies, self.guests, self.guests_by_name = {}, {}, {}
        self.lock = threading.RLock()  # tests send as well
        self.used, self.asked_for_use = {}, 0
        self.path = os.path.join(work, "mnt")
        images = os.path.join(work, "images")
        os.makedirs(os.path.join(images, "templates"))
        open(os.path.join(images, "templates/default.erofs"), "w").close()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(work, "sock"))
        self.listener.listen(1)
        self.listener.settimeout(PATIENCE)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        self.log = open(os.path.join(work, "log"), "w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(
            [PFFS, "mount", "--foreground", "--socket", os.path.join(work, "sock"), "--images",
             images, self.path] + list(options), stderr=self.log)
        deadline = time.monotonic() + PATIENCE
        while not os.path.exists(os.path.join(self.path, "host")):
            assert self.process.poll() is None and time.monotonic() < deadline, "no mount"
            time.sleep(0.02)

    def end(self):
        wrong = end(self.process)
        subprocess.run(["umount", "-l", self.path], stderr=subprocess.DEVNULL, check=False)
        self.log.seek(0)
        said = self.log.read()
        self.log.close()
        return wrong and f"{wrong}, and had said:\n{said}"

    def send(self, kind, payload=b"", channel=0):
        try:
            with self.lock:
                self.sock.sendall(struct.pack("<IIB3x", len(payload), channel, kind) + payload)
        except BrokenPipeError:
            pass  # pffs has ended: serve() sees it

    def serve(self):
        self.sock, _ = self.listener.accept()
        buf = b""
        while True:
            try:
                piece = self.sock.recv(1 << 20)
            except OSError:
                return
            if not piece:
                return
            buf += piece
            while len(buf) >= 12:
                size, channel, kind = struct.unpack_from("<IIB", buf)
                if len(buf) < 12 + size:
                    break
                payload, buf = buf[12:12 + size], buf[12 + size:]
                self.frame(kind, channel, payload)

    def frame(self, kind, channel, payload):
        if kind == HELLO:
            self.send(HELLO, payload)
        elif kind == CONTROL:
            self.control(json.loads(payload))
        elif kind == DATA and channel in self.guests:
            self.guests[channel].take(payload)
        elif kind == CREDIT and channel in self.guests:
            self.guests[channel].flush(struct.unpack("<I", payload)[0])

    def control(self, request):
        answer = {"seq": request["seq"]}
        if request["op"] == "stat" and "vm" in request:
            self.asked_for_use += 1
            used = self.used.get(request["vm"], {})
            if used is None:
                return
            answer.update(used)
        elif request["op"] == "stat":
            answer.update(engine="kvm", version="0", vms=0, templates=["default"],
                          limits_cpu=True)
        elif request["op"] == "create":
            answer.update(vm=self.new_guest(), pid=1)
        elif request["op"] == "fork":
            answer.update(vms=[{"vm": self.new_guest(), "pid": 1} for _ in request["names"]],
                          pause_usec=1)
            if request.get("twin"):
                answer.update(twin={"vm": self.new_guest(), "pid": 1})
        elif request["op"] == "destroy":
            self.guests.pop(request["vm"], None)
        self.send(CONTROL, json.dumps(answer).encode())
        if request["op"] == "create":
            self.guests[answer["vm"]].send(READY)

    def new_guest(self):
        vm = len(self.guests) + 1
        while vm in self.guests:
            vm += 1
        self.guests[vm] = Guest(self, vm)
        return vm

    def sandbox(self, name, lie=honest):
        """Make one. Return: the path of its fs/."""
        self.lies[name] = lie
        os.mkdir(os.path.join(self.path, name))
        return os.path.join(self.path, name, "fs")


def run(tests):
    """Run them, each with a mount of its own, where there can be one. Does not return."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        sys.exit(skip("mounting takes root and /dev/fuse"))
    if not os.access(PFFS, os.X_OK):
        sys.exit(skip("pffs is not built"))
    sys.exit(main(tests, LyingMount))
