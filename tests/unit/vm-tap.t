#!/usr/bin/python3
"""The network card of a real VM process, with a guest that sends back what it receives.

What stands for a tap is a socket, which keeps frames whole as well. The processes are
started as the broker starts them, since it is the broker that has taps.
"""
import array
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from broker_kit import PATIENCE, VMCTL, skip  # noqa: E402
from tiny_kernel import FRAME, HEADER, net_kernel, write_images  # noqa: E402

CONTROL, AGENT = 3, 4  # descriptors of a VM process
MEMORY_MIB = 128
QUIET = 0.3  # seconds in which a frame that is not to come would have come


def pair(kind):
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    ours.settimeout(PATIENCE)
    return ours, theirs


class VM:
    """A VM's process, and its broker's ends."""
    def __init__(self, control, agent):
        self.control, self.agent = control, agent
        self.pid = None
        self.seq = 0

    def tell(self):
        message = json.loads(self.control.recv(1 << 18))
        assert message.get("event") != "dead", message
        return message

    def started(self):
        assert self.tell() == {"event": "started"}
        return self

    def send(self, message, fds=()):
        self.control.sendmsg([json.dumps(message).encode()],
                             [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])

    def ask(self, op, fds=(), **fields):
        self.seq += 1
        self.send({"op": op, "seq": self.seq, **fields}, fds)
        reply = self.tell()
        while reply.get("seq") != self.seq:
            assert "event" in reply, reply
            reply = self.tell()
        assert "error" not in reply, reply
        return reply

    def connect(self):
        """Give it a new tap. Return: the other side of that."""
        wire, tap = pair(socket.SOCK_SEQPACKET)
        tap.setblocking(False)
        assert self.ask("tap", [tap.fileno()]) == {"seq": self.seq}
        tap.close()
        return wire

    def fork(self, *names, **fields):
        ends = [(pair(socket.SOCK_SEQPACKET), pair(socket.SOCK_STREAM)) for _ in names]
        fds = [end[1].fileno() for both in ends for end in both]
        assert self.ask("fork", fds, names=names, agent_in=0, **fields)["made"] == len(names)
        children = [VM(control[0], agent[0]) for control, agent in ends]
        for both in ends:
            both[0][1].close()
            both[1][1].close()
        return children

    def end(self):
        self.control.close()
        self.agent.close()


def start(folder, **fields):
    """A VM's process that makes a machine as @fields say."""
    control, agent = pair(socket.SOCK_SEQPACKET), pair(socket.SOCK_STREAM)
    high = [os.dup2(both[1].fileno(), at) for both, at in ((control, 100), (agent, 101))]
    actions = [(os.POSIX_SPAWN_DUP2, high[0], CONTROL), (os.POSIX_SPAWN_DUP2, high[1], AGENT)]
    vm = VM(control[0], agent[0])
    vm.pid = os.posix_spawn(VMCTL, ["vmctl", "vm"], os.environ, file_actions=actions)
    for fd in high:
        os.close(fd)
    control[1].close()
    agent[1].close()
    vm.send({"op": "start", "name": "vm", "base": f"{folder}/templates/default.erofs", **fields})
    return vm.started()


def boot(folder):
    return start(folder, kernel=f"{folder}/kernel", initramfs=f"{folder}/initramfs",
                 upper=f"{folder}/upper.ext4", memory_mib=MEMORY_MIB, vcpus=1, disk_mib=64)


def frame(text):
    return bytes(HEADER) + text.encode().ljust(FRAME)


def echoes(wire, text="ping"):
    wire.send(frame(text))
    answer = wire.recv(1 << 16)
    assert answer == frame(text), answer
    return True


def comes(wire, text):
    """Does it come back in the end, behind others? It is sent again while there is no room for it."""
    deadline = time.monotonic() + PATIENCE
    wire.settimeout(QUIET)
    while time.monotonic() < deadline:
        try:
            wire.send(frame(text))
            while wire.recv(1 << 16) != frame(text):
                pass
            return True
        except TimeoutError:
            pass
    return False


def is_quiet(wire):
    wire.settimeout(QUIET)
    try:
        return not wire.recv(1 << 16)
    except TimeoutError:
        return True
    finally:
        wire.settimeout(PATIENCE)


def has_ended(wire):
    """Nobody else has the other side open."""
    return wire.recv(1 << 16) == b""


def greets(vm):
    wire = vm.connect()
    assert wire.recv(1 << 16) == frame("hello")
    return wire


def test_connect(folder):
    "what a guest sends before it has a tap waits for one; then frames go both ways"
    vm = boot(folder)
    wire = greets(vm)
    assert all(echoes(wire, f"ping {n}") for n in range(100))
    return [vm]


def test_replace(folder):
    "another tap replaces the first; without one nothing moves"
    vm = boot(folder)
    first = greets(vm)
    second = vm.connect()
    assert has_ended(first) and echoes(second)
    vm.ask("tap")
    assert has_ended(second)
    assert echoes(vm.connect())
    vm.connect().close()
    assert echoes(vm.connect()), "also when the one before has failed"
    return [vm]


def test_fork(folder):
    "a fork has its parent's card and not its tap"
    vm = boot(folder)
    wire = greets(vm)
    assert echoes(wire)
    children = [child.started() for child in vm.fork("a", "b")]
    wires = [child.connect() for child in children]
    assert all(echoes(each, f"to {n}") for n, each in enumerate(wires))
    assert is_quiet(wire) and echoes(wire), "the parent's is the parent's alone"
    vm.end()
    assert has_ended(wire), "no child holds it"
    assert echoes(wires[0])
    return children


def test_fork_waiting(folder):
    "a frame that waits in the parent waits in its fork, too"
    vm = boot(folder)
    child = vm.fork("child")[0].started()
    assert echoes(greets(child)) and echoes(greets(vm))
    return [vm, child]


def test_park(folder):
    "nothing moves while a machine stands still"
    vm = boot(folder)
    wire = greets(vm)
    vm.ask("park")
    wire.send(frame("later"))
    assert is_quiet(wire)
    child = vm.fork("child")[0].started()
    assert echoes(child.connect()), "a fork of it runs"
    vm.ask("resume")
    assert wire.recv(1 << 16) == frame("later")
    vm.ask("park")
    other = vm.connect()
    other.send(frame("new"))
    assert is_quiet(other)
    vm.ask("resume")
    assert other.recv(1 << 16) == frame("new"), "a tap that came meanwhile is used"
    return [vm, child]


def test_unborn(folder):
    "a fork that is not to run yet can be connected, and runs later"
    vm = boot(folder)
    child = vm.fork("child", unborn=True)[0].started()
    wire = child.connect()
    assert is_quiet(wire)
    child.ask("resume")
    assert wire.recv(1 << 16) == frame("hello") and echoes(wire)
    return [vm, child]


def test_freeze(folder):
    "a frozen machine goes on without a tap, and with what it had to send"
    vm = boot(folder)
    with open(f"{folder}/frozen.vm", "xb+") as file:
        vm.ask("freeze", [file.fileno()], agent_in=0, template="default", group="", base="")
    vm.end()
    again = start(folder, file=f"{folder}/frozen.vm")
    assert echoes(greets(again))
    return [again]


def test_many(folder):
    "more frames at once than there is room for do no harm"
    vm = boot(folder)
    wire = greets(vm)
    wire.setblocking(False)
    sent = 0
    try:
        while sent < 1000:
            wire.send(frame(str(sent)))
            sent += 1
    except BlockingIOError:
        pass
    assert comes(wire, "after")
    return [vm]


def run(number, name, test):
    folder = tempfile.mkdtemp()
    os.mkdir(f"{folder}/templates")
    write_images(folder, net_kernel())
    failure = None
    try:
        for vm in test(folder):
            vm.end()
    except Exception as e:  # of any kind: the next test is to run
        failure = f"{type(e).__name__} {e}"
    shutil.rmtree(folder)
    print("not ok" if failure else "ok", number, "-", test.__doc__, flush=True)
    if failure:
        print("#", name, failure, file=sys.stderr, flush=True)


def main():
    tests = [(n, t) for n, t in globals().items() if n.startswith("test_")]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print(f"1..{len(tests)}", flush=True)
    for number, (name, test) in enumerate(tests, 1):
        run(number, name, test)


if os.access("/dev/kvm", os.R_OK | os.W_OK):
    main()
else:
    sys.exit(skip("no /dev/kvm"))
