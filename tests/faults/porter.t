#!/usr/bin/python3
"""A mount of one sandbox whose porter lies: it harms nothing but the sockets in that mount.

What makes such a mount is a process of its user's, and hands pffs descriptors of its choice.
"""
import array
import contextlib
import ctypes
import os
import socket
import stat
import struct
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from world import in_thread, join, main, values, wait, within  # noqa: E402

ORDER = struct.Struct("<II39sx")
NEWS = struct.Struct("<Ii")
PORT = 8000
MNT_DETACH = 2
CONNECTIONS = 256  # that one sandbox has at a time
libc = ctypes.CDLL(None, use_errno=True)


class Porter:
    """A mount of the sandbox `name`, and what stands for its `pffs mount --only`."""

    def __init__(self, world, name):
        self.path = os.path.join(world.work, "only")
        os.makedirs(self.path, exist_ok=True)
        fuse = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,default_permissions"
        if libc.mount(b"pffs-only", self.path.encode(), b"fuse", 0, options.encode()):
            raise OSError(ctypes.get_errno(), "cannot mount")
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(20)
        self.control.connect("\0" + values(world.at("host"))["control"])
        socket.send_fds(self.control, [world.status(name)["id"].encode()], [fuse])
        os.close(fuse)
        assert self.control.recv(100) == b"+"

    def hear(self):
        return ORDER.unpack(self.control.recv(ORDER.size))

    def say(self, number, errnum=0, fds=()):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.control.sendmsg([NEWS.pack(number, errnum)], rights)

    def look(self):
        """Look the socket up, in a thread. Return: it, and what comes of it, later."""
        found = []

        def go():
            try:
                found.append(os.stat(os.path.join(self.path, "net", str(PORT))).st_mode)
            except OSError as error:
                found.append(error)

        return in_thread(go), found

    def make(self):
        """One that is said to be there, and is not. Return: its number."""
        thread, found = self.look()
        number, ends, name = self.hear()
        assert not ends and name.startswith(b".port-"), (ends, name)
        self.say(number)
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
    """Make a sandbox with a port. Return: what was held before."""
    world.make("first")
    world.remove("first")
    before = world.holds()
    world.make("demo")
    with open(world.at("demo", "net", "ports"), "w", encoding="ascii") as file:
        file.write(f"{PORT}\n")
    wait(lambda: os.path.exists(world.at("demo", "net", str(PORT))))
    return before


def answers(world):
    with within():
        assert world.run("demo", "print(6 * 7)") == ("42\n", 0)


def test_descriptors(world):
    "what is no connection is closed, and what would block does not"
    before = begin(world)
    with porter_of(world) as porter:
        number = porter.make()
        listening = socket.socket(socket.AF_UNIX)
        listening.bind("\0pffs-test-%d" % os.getpid())
        listening.listen()
        wrong = [os.pipe()[0], os.open("/dev/zero", os.O_RDONLY), os.open("/", os.O_PATH),
                 listening.fileno(), socket.socket().detach(),
                 socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach(), porter.control.fileno()]
        for fd in wrong:
            porter.say(number, fds=[fd])
            answers(world)
        porter.say(number, fds=wrong[:3])
        porter.say(number + 7, fds=wrong[:1])
        answers(world)
        pairs = [socket.socketpair() for _ in range(3)]
        for ours, theirs in pairs:
            theirs.setblocking(True)
            porter.say(number, fds=[theirs.fileno()])
            ours.send(b"x" * 10000)
            with contextlib.suppress(BlockingIOError):
                theirs.recv(10000, socket.MSG_DONTWAIT)  # pffs may have been told of it
            answers(world)
        for ours, theirs in pairs:
            ours.close()
            theirs.close()
        answers(world)
    world.remove("demo")
    wait(lambda: world.holds() == before)


def test_flood(world):
    "more connections than a sandbox has are closed, the others stay"
    before = begin(world)
    with porter_of(world) as porter:
        number = porter.make()
        pairs = []
        for _ in range(CONNECTIONS + 10):
            pairs.append(socket.socketpair())
            porter.say(number, fds=[pairs[-1][1].fileno()])
            pairs[-1][1].close()
        for ours, _ in pairs:
            ours.settimeout(20)
        for ours, _ in pairs[CONNECTIONS:]:
            assert ours.recv(1) == b"", "one too many was kept"
        pairs[0][0].setblocking(False)
        try:
            raise AssertionError(f"the first was closed: {pairs[0][0].recv(1)}")
        except BlockingIOError:
            pass
        answers(world)
        for ours, _ in pairs:
            ours.close()
    world.remove("demo")
    wait(lambda: world.holds() == before)


def test_silence(world):
    "who looks for a socket that nobody makes waits no longer than the porter lives"
    begin(world)
    with porter_of(world) as porter:
        thread, found = porter.look()
        number, _, _ = porter.hear()
        answers(world)
        porter.control.close()
        join([thread])
        assert isinstance(found[0], FileNotFoundError), found
        assert str(PORT) not in os.listdir(os.path.join(porter.path, "net"))
    with porter_of(world) as porter:
        thread, found = porter.look()
        number, _, _ = porter.hear()
        porter.say(number, 1)  # EPERM
        join([thread])
        assert isinstance(found[0], FileNotFoundError), found
        with open(world.at("demo", "error"), encoding="ascii") as file:
            assert "net/8000 in a mount of one sandbox" in file.read()
        number = porter.make()
        with open(world.at("demo", "net", "ports"), "w", encoding="ascii"):
            pass
        assert porter.hear()[:2] == (number, 1), "it is not told that a port has gone"
        porter.control.send(b"short")
        answers(world)


def abort(path):
    """End a mount as the kernel would, while its requests are under way."""
    number = os.stat(path).st_dev & 0xff | os.stat(path).st_dev >> 12 & ~0xff
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
    before = begin(world)
    for end in (lambda porter, number: porter.say(number), lambda porter, number: porter.say(number, 1),
                lambda porter, _: porter.control.close()):
        with porter_of(world) as porter:
            thread, found = porter.look()
            number, _, _ = porter.hear()
            abort(porter.path)
            join([thread])
            assert isinstance(found[0], OSError), found
            answers(world)
            end(porter, number)
            answers(world)
    world.remove("demo")
    wait(lambda: world.holds() == before)


main(globals())
