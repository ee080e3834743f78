#!/usr/bin/python3
"""The broker forks VMs, with fake-vm as VM process."""
import json
import os
import resource
import signal
import struct
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from broker_kit import CONTROL, CREDIT, DATA, PATIENCE, WINDOW, gone, main  # noqa: E402


def fork(client, vm, name="child"):
    """Fork once. Return: the reply's only VM, with the pause, or the error."""
    reply = client.request("fork", vm=vm, names=[name])
    if "error" in reply:
        return reply
    (child,) = reply["vms"]
    return {**child, "pause_usec": reply["pause_usec"]}


def echo(client, vm, data):
    before = len(client.data.get(vm, b""))
    client.send(DATA, data, vm)
    return client.wait_data(vm, before + len(data))[before:]


def settle(server, fds, children):
    """Wait until what failed has left nothing."""
    deadline = time.monotonic() + PATIENCE
    while (server.fds(), len(server.children())) != (fds, len(children)):
        assert time.monotonic() < deadline, (fds, server.fds(), children, server.children())
        time.sleep(0.02)


def test_fork(server):
    "a fork is a VM of its own, and belongs to the client that asked"
    client = server.client()
    made = client.create("echo", memory_mib=300, vcpus=2)
    vm = made["vm"]
    assert echo(client, vm, b"past") == b"past"
    reply = fork(client, vm, "child")
    assert "error" not in reply, reply
    child = reply["vm"]
    assert child > vm and reply["pid"] != made["pid"] and reply["pause_usec"] == 1
    listed = client.request("list")["vms"]
    assert [v["vm"] for v in listed] == [vm, child]
    assert listed[1]["name"] == "child" and listed[1]["template"] == "default"
    assert listed[1]["memory_mib"] == 300 and listed[1]["vcpus"] == 2
    assert listed[1]["pid"] == reply["pid"] and listed[1]["state"] == "running"
    assert echo(client, child, b"one") == b"one"
    assert echo(client, vm, b"two") == b"two"
    assert client.request("stat", vm=child)["cpu_usec"] == 5
    for turn in range(5):
        reply = fork(client, child)
        child = reply["vm"]
        assert echo(client, child, b"deep") == b"deep"
    for entry in client.request("list")["vms"]:
        assert "error" not in client.request("destroy", vm=entry["vm"])
        assert gone(entry["pid"])
    assert client.request("list")["vms"] == []


def test_cut(server):
    "the reply stands where the streams of parent and child part"
    client = server.client()
    vm = client.create("flood")["vm"]
    client.wait_data(vm, WINDOW)
    client.quiet(0.3)
    client.seq += 1
    client.send(CONTROL, json.dumps(
        {"op": "fork", "seq": client.seq, "vm": vm, "names": ["x"]}).encode())
    client.quiet(0.3)
    assert client.seq not in client.replies, "a stream that stands still cannot be cut"
    while client.seq not in client.replies:
        done = len(client.data.pop(vm, b""))
        if done:
            client.send(CREDIT, struct.pack("<I", done), vm)
        client.take()
    child = client.replies.pop(client.seq)["vms"][0]["vm"]
    assert client.order[0] == ("data", vm)
    assert ("data", child) not in client.order, "the child said something before the reply"
    client.wait_data(child, WINDOW)


def test_input(server):
    "what the client sends behind its request is for the parent alone"
    client = server.client()
    vm = client.create()["vm"]
    client.seq += 1
    client.send(DATA, b"before", vm)
    client.send(CONTROL, json.dumps(
        {"op": "fork", "seq": client.seq, "vm": vm, "names": ["x"]}).encode())
    client.send(DATA, b"after", vm)
    assert fork(client, vm)["errno"] == 11, "one fork at a time"
    child = client.reply(client.seq - 1)
    if "error" in child:
        # fake-vm does not wait for its input
        assert "is not 6" in child["error"], child
    else:
        assert client.wait_data(vm, 11) == b"beforeafter"


def test_failures(server):
    "a fork that fails says why and leaves nothing"
    client = server.client()
    vm = client.create()["vm"]
    fds, children = server.fds(), server.children()
    for name, errnum, sentence in (
            ("refused", 12, "no room"), ("stillborn", 12, "KVM has no room"),
            ("mute", 5, "without saying why"),
            ("miscount", 71, "lost count")):
        if name == "miscount":
            echo(client, vm, b"ten bytes!")
        reply = fork(client, vm, name)
        assert reply["errno"] == errnum and sentence in reply["error"], (name, reply)
        if name == "miscount":
            event = client.wait_event("dead", vm)
            assert "broke the rules" in event["reason"], event
            client.request("destroy", vm=vm)
            vm = client.create()["vm"]
        assert echo(client, vm, b"alive") == b"alive", name
    assert [v["vm"] for v in client.request("list")["vms"]] == [vm]
    settle(server, fds, children)


def test_deadline(server):
    "what does not come is not waited for for ever"
    client = server.client()
    fds, children = server.fds(), server.children()
    for name in ("late", "eager"):
        vm = client.create()["vm"]
        reply = fork(client, vm, name)
        assert reply["errno"] == 110 and "did not answer within 1 s" in reply["error"], reply
        assert echo(client, vm, b"alive") == b"alive", name
        assert "error" not in client.request("destroy", vm=vm)
    settle(server, fds, children)


test_deadline.options = ["--deadline-ms", "1000"]


def fork_many(client, vm, names):
    return client.request("fork", vm=vm, names=names)


def test_bulk(server):
    "many forks by one request, in the order of their names"
    client = server.client()
    made = client.create()
    vm = made["vm"]
    echo(client, vm, b"past")
    names = [f"child{n}" for n in range(150)]
    reply = fork_many(client, vm, names)
    assert "error" not in reply, reply
    ids = [child["vm"] for child in reply["vms"]]
    assert ids == list(range(vm + 1, vm + 151)) and reply["pause_usec"] == 1
    listed = client.request("list", after=vm)["vms"]
    assert [v["name"] for v in listed] == names
    assert [v["pid"] for v in listed] == [child["pid"] for child in reply["vms"]]
    for child in ids:
        client.send(DATA, b"%d" % child, child)
    for child in ids:
        assert client.wait_data(child, len(str(child))) == b"%d" % child
    assert echo(client, vm, b"alive") == b"alive"
    client.request("kill", vm=vm, signal=9)
    client.wait_event("dead", vm)
    for child in reply["vms"][:100]:
        assert "error" not in client.request("destroy", vm=child["vm"])
        assert gone(child["pid"])


def test_bulk_cut(server):
    "many children of a parent that is talking"
    client = server.client()
    vm = client.create("flood")["vm"]
    client.wait_data(vm, WINDOW)
    client.quiet(0.3)
    client.seq += 1
    client.send(CONTROL, json.dumps({"op": "fork", "seq": client.seq, "vm": vm,
                                     "names": ["x"] * 130}).encode())
    while client.seq not in client.replies:
        done = len(client.data.pop(vm, b""))
        if done:
            client.send(CREDIT, struct.pack("<I", done), vm)
        client.take()
    reply = client.replies.pop(client.seq)
    assert len(reply["vms"]) == 130, reply
    assert all(kind == "data" and who == vm for kind, who in client.order)
    for child in reply["vms"]:
        client.wait_data(child["vm"], 1)


def test_bulk_failures(server):
    "all of the forks, or none"
    client = server.client()
    vm = client.create()["vm"]
    fds, children = server.fds(), server.children()
    for count, at, name, errnum, sentence in (
            (5, 2, "refused", 12, "no room"), (5, 4, "stillborn", 12, "stillborn did not live: KVM"),
            (140, 139, "refused", 12, "no room"), (140, 3, "stillborn", 12, "KVM has no room"),
            (140, 130, "mute", 5, "without saying why")):
        names = ["child"] * count
        names[at] = name
        reply = fork_many(client, vm, names)
        assert reply["errno"] == errnum and sentence in reply["error"], (name, reply)
        assert echo(client, vm, b"alive") == b"alive", name
    assert [v["vm"] for v in client.request("list")["vms"]] == [vm]
    reply = fork_many(client, vm, ["child"] * 127 + ["fickle"])
    assert reply["errno"] == 71 and "lost count" in reply["error"], reply
    assert "broke the rules" in client.wait_event("dead", vm)["reason"]
    client.request("destroy", vm=vm)
    client.create()
    settle(server, fds, children)


def test_no_descriptors(server):
    "a broker without descriptors makes no fork, and goes on"
    client = server.client()
    vm = client.create()["vm"]
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (server.fds() + 30, 4096))
    reply = fork_many(client, vm, ["child"] * 20)
    assert reply["errno"] == 12 and "Too many open files" in reply["error"], reply
    assert echo(client, vm, b"alive") == b"alive"
    reply = fork_many(client, vm, ["child"] * 3)
    assert len(reply["vms"]) == 3, reply


def test_bad_requests(server):
    "ENOENT, EINVAL, EPERM, EIO"
    client, other = server.client(), server.client()
    vm = client.create()["vm"]
    assert fork(client, 999)["errno"] == 2
    for names in (None, "a", [], [5], ["a", None], ["a", "b c"], ["a"] * 1001):
        assert client.request("fork", vm=vm, names=names)["errno"] == 22, names
    assert client.request("fork", vm=vm, name="a")["errno"] == 22
    assert fork(client, vm, "a b")["errno"] == 22
    assert fork(client, vm, "x" * 200)["errno"] == 22
    reply = fork(other, vm)
    assert reply["errno"] == 1 and "attach" in reply["error"], reply
    assert "error" not in client.request("park", vm=vm)
    assert "error" not in fork(client, vm)
    assert "error" not in client.request("resume", vm=vm)
    client.request("kill", vm=vm, signal=int(signal.SIGKILL))
    client.wait_event("dead", vm)
    for op in ("fork", "park", "resume"):
        reply = client.request(op, vm=vm, names=["x"])
        assert reply["errno"] == 5 and "signal 9" in reply["error"], (op, reply)


def test_ends(server):
    "a fork's end is told, whether its parent lives or not"
    client = server.client()
    vm = client.create()["vm"]
    first, second, third = (fork(client, vm) for _ in range(3))
    client.request("kill", vm=first["vm"], signal=15)
    assert "signal 15" in client.wait_event("dead", first["vm"])["reason"]
    client.request("kill", vm=vm, signal=9)
    client.wait_event("dead", vm)
    assert echo(client, second["vm"], b"orphan") == b"orphan"
    client.request("kill", vm=second["vm"], signal=15)
    assert "signal 15" in client.wait_event("dead", second["vm"])["reason"]
    assert "error" not in client.request("destroy", vm=third["vm"])
    assert gone(third["pid"])


def test_silent_parent(server):
    "how a fork ended is known when its parent does not wait for it"
    client = server.client()
    child = fork(client, client.create("silent")["vm"])["vm"]
    client.request("kill", vm=child, signal=9)
    assert "killed by signal 9" in client.wait_event("dead", child)["reason"]
    assert "error" not in client.request("destroy", vm=child)


def test_gone_client(server):
    "a client that leaves during a fork leaves nothing half made"
    client, other = server.client(), server.client()
    vm = client.create()["vm"]
    client.send(CONTROL, json.dumps({"op": "fork", "seq": 99, "vm": vm, "names": ["late"]}).encode())
    time.sleep(0.2)
    client.close()
    time.sleep(0.2)
    assert [v["vm"] for v in other.request("list")["vms"]] == [vm]
    assert "error" not in other.request("attach", vm=vm)
    assert echo(other, vm, b"mine") == b"mine"
    assert "error" not in fork(other, vm)


def test_sigterm(server):
    "SIGTERM ends forks too"
    client = server.client()
    vm = client.create()["vm"]
    pids = [fork(client, vm)["pid"] for _ in range(3)]
    server.process.terminate()
    assert server.process.wait(20) == 0
    assert all(map(gone, pids))


main(globals())
