#!/usr/bin/python3
"""What is left of a family whose VM was taken over, with fake-vm as VM process."""
import os
import select
import socket
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from broker_kit import PATIENCE, gone, main, skip  # noqa: E402


def namespace(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def members(space):
    """The processes of a namespace that have not ended."""
    return {int(pid) for pid in filter(str.isdigit, os.listdir("/proc"))
            if namespace(pid) == space and not gone(pid)}


def wait(what, *args):
    deadline = time.monotonic() + PATIENCE
    while not what(*args):
        assert time.monotonic() < deadline, (what, args)
        time.sleep(0.02)


def brood(client):
    """A VM with a process that the broker does not know. Return: it and its namespace."""
    vm = client.create("brood")
    space = namespace(vm["pid"])
    wait(lambda: len(members(space)) == 3)  # with init
    return vm, space


def test_ends_with_last(server):
    "a process that a VM has forked ends with the last VM of its family"
    client = server.client()
    vm, space = brood(client)
    child = client.request("fork", vm=vm["vm"], names=["a"])["vms"][0]
    assert "error" not in client.request("destroy", vm=vm["vm"])
    wait(gone, vm["pid"])
    assert child["pid"] in members(space), "the family goes on while it has a VM"
    assert "error" not in client.request("destroy", vm=child["vm"])
    wait(lambda: not members(space))


def test_ends_with_dead(server):
    "likewise when nobody has destroyed the VM that is dead"
    client = server.client()
    vm, space = brood(client)
    client.request("kill", vm=vm["vm"], signal=9)
    client.wait_event("dead", vm["vm"])
    wait(lambda: not members(space))


def test_ends_after_restart(server):
    "likewise when vmctl was killed in between"
    client = server.client()
    (vm, space), (other, other_space) = brood(client), brood(client)
    client.request("kill", vm=other["vm"], signal=9)
    client.wait_event("dead", other["vm"])
    client = server.restart()
    wait(lambda: not members(other_space))
    assert vm["pid"] in members(space), "the one that lives goes on"
    assert "error" not in client.request("destroy", vm=vm["vm"])
    wait(lambda: not members(space))


def speak_for(listener):
    """In a process of its own: say that the fork whose sockets come runs; live until it is told."""
    with listener.accept()[0] as sock:
        _, fds, _, _ = socket.recv_fds(sock, 100, 2)
    os.set_inheritable(fds[0], True)
    with socket.socket(fileno=fds[0]) as control:
        control.send(b'{"event":"started"}')
        select.select([control], [], [], PATIENCE)
        time.sleep(PATIENCE)


def test_stranger(server):
    "no process that is not of the family is taken for a fork"
    name = "stranger" + os.urandom(8).hex()
    client = server.client()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name)
        listener.listen()
        stranger = os.fork()
        if not stranger:
            try:
                speak_for(listener)
            finally:
                os._exit(0)
    try:
        vm = client.create()
        answer = client.request("fork", vm=vm["vm"], names=[name])
        assert "error" in answer, answer
        time.sleep(3)  # the grace that a process has before it is killed
        assert not gone(stranger), "it was killed as the VM's"
        assert "error" not in client.request("fork", vm=vm["vm"], names=["a"])
    finally:
        os.kill(stranger, 9)
        os.waitpid(stranger, 0)


if os.geteuid() != 0:
    sys.exit(skip("not root: there may be no namespace of pids"))
main(globals())
