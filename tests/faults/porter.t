#!/usr/bin/python3
"""A mount of one sandbox whose porter lies: it harms nothing but the sockets in that mount.

What makes such a mount is a process of its user's, which may say anything.
"""
import array
import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import stat
import struct
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from world import in_thread, join, main, values, wait, within  # noqa: E402

ORDER = struct.Struct("<II39sx")
NEWS = struct.Struct("<IIi")
MAKE, END, TAKE = range(3)
MADE, CAME = range(2)
PORT = 8000
MNT_DETACH = 2
MOUNTS = 6  # seconds that fusermount3 may take
WAITS = 0.3  # seconds, in which who asks for a lock has asked
CONNECTIONS = 256  # that one sandbox has at a time
libc = ctypes.CDLL(None, use_errno=True)


class Porter:
    """A mount of the sandbox `name`, and what stands for its `pffs mount --only`."""

    def __init__(self, world, name, pause=0):
        self.path = os.path.join(world.work, "only")
        os.makedirs(self.path, exist_ok=True)
        fuse = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,default_permissions"
        if libc.mount(b"pffs-only", self.path.encode(), b"fuse", 0, options.encode()):
            raise OSError(ctypes.get_errno(), "cannot mount")
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(20)
        self.control.connect("\0" + values(world.at("host"))["control"])
        time.sleep(pause)
        with os.fdopen(fuse, "rb"):  # which is not ours any more then, whatever comes of it
            socket.send_fds(self.control, [world.status(name)["id"].encode()], [fuse])
        assert self.control.recv(100) == b"+"

    def hear(self):
        """An order. Return: its kind, the socket's number, its name, and a descriptor or None."""
        data, fds, _, _ = socket.recv_fds(self.control, ORDER.size, 4)
        kind, number, name = ORDER.unpack(data)
        assert len(fds) <= 1, fds
        return kind, number, name, fds[0] if fds else None

    def say(self, kind, number, errnum=0, fds=()):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.control.sendmsg([NEWS.pack(kind, number, errnum)], rights)

    def look(self, *folder):
        """Look the socket up, in a thread. Return: it, and what comes of it, later."""
        found = []

        def go():
            try:
                found.append(os.stat(os.path.join(self.path, *folder, "net", str(PORT))).st_mode)
            except OSError as error:
                found.append(error)

        return in_thread(go), found

    def make(self):
        """One that is said to be there, and is not. Return: its number."""
        thread, found = self.look()
        kind, number, name, _ = self.hear()
        assert kind == MAKE and name.startswith(b".port-"), (kind, name)
        self.say(MADE, number)
        join([thread])
        assert stat.S_ISSOCK(found[0]), found
        return number

    def close(self):
        self.control.close()
        libc.umount2(self.path.encode(), MNT_DETACH)


@contextlib.contextmanager
def porter_of(world, name="demo"):
    porter = Porter(world, name)
    try:
        yield porter
    finally:
        porter.close()


def begin(world):
    """Make a sandbox with a port."""
    world.make("demo")
    write(world.at("demo", "net", "ports"), f"{PORT}\n")
    wait(lambda: os.path.exists(world.at("demo", "net", str(PORT))))


@contextlib.contextmanager
def nothing_left(world):
    """A sandbox with a port; when that is removed, nothing is held that was not before."""
    world.make("first")
    world.remove("first")
    before = world.holds()
    begin(world)
    yield
    world.remove("demo")
    wait(lambda: world.holds() == before)


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def answers(world):
    with within():
        assert world.run("demo", "print(6 * 7)") == ("42\n", 0)


def test_descriptors(world):
    "what it sends along is let go of, and what it says of nothing is nothing"
    with nothing_left(world), porter_of(world) as porter:
        number = porter.make()
        sent = [os.pipe()[0], os.open("/", os.O_PATH), socket.socket().detach(), porter.control.fileno()]
        for fds in sent[:1], sent[1:2], sent[2:3], sent[3:], sent:
            porter.say(MADE, number, fds=fds)
            porter.say(CAME, number + 7, fds=fds)
            porter.say(7, number, fds=fds)
            answers(world)
            porter.say(MADE, number, 1 << 30)
            number = porter.make()


def test_flood(world):
    "more connections than a sandbox has are refused, the others stay"
    with nothing_left(world), porter_of(world) as porter:
        number = porter.make()
        taken = []
        for _ in range(CONNECTIONS + 10):
            porter.say(CAME, number)
            kind, which, _, fd = porter.hear()
            assert (kind, which) == (TAKE, number), (kind, which)
            taken.append(fd)
        assert None not in taken[:CONNECTIONS] and not any(taken[CONNECTIONS:]), taken
        with socket.socket(fileno=taken[0]) as first:
            first.setblocking(False)
            try:
                raise AssertionError(f"the first was closed: {first.recv(1)}")
            except BlockingIOError:
                pass
        answers(world)
        for fd in taken[1:CONNECTIONS]:
            os.close(fd)


def test_unread(world):
    "one that does not read what it is answered is hung up on"
    with nothing_left(world), porter_of(world) as porter:
        number = porter.make()
        try:
            for _ in range(100000):
                porter.say(CAME, number)
            raise AssertionError("it may say without end, and hear nothing")
        except OSError as error:
            assert error.errno in (errno.EPIPE, errno.ECONNRESET), error
        answers(world)


def test_moved(world):
    "what goes to another place is none of the mount's any more"
    begin(world)
    os.mkdir(world.at("demo", "forks", "x"))
    # When the fork's own socket has come, the porter is told of what is not its mount's any more.
    wait(lambda: os.path.exists(world.at("demo", "forks", "x", "net", str(PORT))))
    with porter_of(world) as porter:
        thread, found = porter.look("forks", "x")
        _, number, _, _ = porter.hear()
        porter.say(MADE, number)
        join([thread])
        assert stat.S_ISSOCK(found[0]), found
        os.rename(world.at("demo", "forks", "x"), world.at("other"))
        porter.say(CAME, number)
        kind, _, _, fd = porter.hear()
        assert kind == TAKE and fd is None, (kind, fd)


def test_slow(world):
    "one that takes some seconds to mount is served all the same"
    begin(world)
    try:
        Porter(world, "demo", MOUNTS).close()
    finally:
        libc.umount2(os.path.join(world.work, "only").encode(), MNT_DETACH)


def test_silence(world):
    "who looks for a socket that nobody makes waits no longer than the porter lives"
    begin(world)
    with porter_of(world) as porter:
        thread, found = porter.look()
        porter.hear()
        answers(world)
        porter.control.close()
        join([thread])
        assert isinstance(found[0], FileNotFoundError), found
        assert str(PORT) not in os.listdir(os.path.join(porter.path, "net"))
    with porter_of(world) as porter:
        thread, found = porter.look()
        _, number, _, _ = porter.hear()
        porter.say(MADE, number, 1)  # EPERM
        join([thread])
        assert isinstance(found[0], FileNotFoundError), found
        with open(world.at("demo", "error"), encoding="ascii") as file:
            assert "net/8000 in a mount of one sandbox" in file.read()
        number = porter.make()
        write(world.at("demo", "net", "ports"), "")
        assert porter.hear()[:2] == (END, number), "it is not told that a port has gone"
        porter.control.send(b"short")
        answers(world)


def abort(path):
    """End a mount as the kernel would, while its requests are under way."""
    number = os.minor(os.stat(path).st_dev)
    with tempfile.TemporaryDirectory() as connections:
        if libc.mount(b"fusectl", connections.encode(), b"fusectl", 0, None):
            raise OSError(ctypes.get_errno(), "cannot mount fusectl")
        try:
            with open(os.path.join(connections, str(number), "abort"), "w", encoding="ascii") as file:
                file.write("1")
        finally:
            libc.umount2(connections.encode(), MNT_DETACH)


def test_abort(world):
    "a mount that ends while somebody looks for a socket leaves nothing behind"
    with nothing_left(world):
        ports = world.at("demo", "net", "ports")
        for end in (lambda porter, number: porter.say(MADE, number),
                    lambda porter, number: porter.say(MADE, number, 1),
                    lambda porter, _: porter.control.close(),
                    lambda *_: write(ports, "8002\n")):
            write(ports, f"{PORT}\n8001\n")
            with porter_of(world) as porter:
                emptied = open(os.path.join(porter.path, "net", "ports"), "w", encoding="ascii")
                write(ports, f"{PORT}\n8001\n")
                thread, found = porter.look()
                _, number, _, _ = porter.hear()
                abort(porter.path)
                join([thread])
                assert isinstance(found[0], OSError), found
                answers(world)
                end(porter, number)
                answers(world)
                with contextlib.suppress(OSError):
                    emptied.close()


def test_locked(world):
    "a mount that ends while somebody waits for a lock leaves nothing behind"
    with nothing_left(world), porter_of(world) as porter:
        path = os.path.join(porter.path, "status")
        first, second = (os.open(path, os.O_RDONLY) for _ in range(2))
        fcntl.flock(first, fcntl.LOCK_EX)
        failed = []
        thread = in_thread(lock, second, failed)
        time.sleep(WAITS)
        abort(porter.path)
        join([thread])
        assert failed, "it has the lock"
        for fd in first, second:
            with contextlib.suppress(OSError):
                os.close(fd)


def lock(fd, failed):
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError as error:
        failed.append(error)


main(globals())
