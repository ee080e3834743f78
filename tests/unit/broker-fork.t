#!/usr/bin/python3
"""The broker forks VMs, with fake-vm as VM process."""
import json
import os
import signal
import struct
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from broker_kit import CONTROL, CREDIT, DATA, WINDOW, gone, main  # noqa: E402


def fork(client, vm, name="child"):
    return client.request("fork", vm=vm, name=name)


def echo(client, vm, data):
    before = len(client.data.get(vm, b""))
    client.send(DATA, data, vm)
    return client.wait_data(vm, before + len(data))[before:]


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
        {"op": "fork", "seq": client.seq, "vm": vm, "name": "x"}).encode())
    client.quiet(0.3)
    assert client.seq not in client.replies, "a stream that stands still cannot be cut"
    while client.seq not in client.replies:
        done = len(client.data.pop(vm, b""))
        if done:
            client.send(CREDIT, struct.pack("<I", done), vm)
        client.take()
    child = client.replies.pop(client.seq)["vm"]
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
        {"op": "fork", "seq": client.seq, "vm": vm, "name": "x"}).encode())
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
            ("refused", 12, "no room"), ("stillborn", 5, "KVM has no room"),
            ("mute", 5, "without saying why"), ("lost", 71, "own fork"),
            ("miscount", 71, "lost count"), ("late", 110, "did not answer"),
            ("eager", 110, "did not answer")):
        if name == "miscount":
            echo(client, vm, b"ten bytes!")
        client.sock.settimeout(20)
        reply = fork(client, vm, name)
        assert reply["errno"] == errnum and sentence in reply["error"], (name, reply)
        if name == "miscount":
            event = client.wait_event("dead", vm)
            assert "broke the rules" in event["reason"], event
            client.request("destroy", vm=vm)
            vm = client.create()["vm"]
        assert echo(client, vm, b"alive") == b"alive", name
    assert [v["vm"] for v in client.request("list")["vms"]] == [vm]
    time.sleep(0.3)
    assert server.fds() == fds, (fds, server.fds())
    assert len(server.children()) == len(children)


def test_bad_requests(server):
    "ENOENT, EINVAL, EPERM, EIO"
    client, other = server.client(), server.client()
    vm = client.create()["vm"]
    assert fork(client, 999)["errno"] == 2
    assert client.request("fork", vm=vm)["errno"] == 22
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
        reply = client.request(op, vm=vm, name="x")
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
    "a parent that does not report the end of a fork is not waited for"
    client = server.client()
    made = client.create()
    child = fork(client, made["vm"])
    os.kill(made["pid"], signal.SIGSTOP)
    client.request("kill", vm=child["vm"], signal=9)
    client.wait_event("dead", child["vm"])
    assert "error" not in client.request("destroy", vm=child["vm"])
    os.kill(made["pid"], signal.SIGCONT)


def test_gone_client(server):
    "a client that leaves during a fork leaves nothing half made"
    client, other = server.client(), server.client()
    vm = client.create()["vm"]
    client.send(CONTROL, json.dumps({"op": "fork", "seq": 99, "vm": vm, "name": "late"}).encode())
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
