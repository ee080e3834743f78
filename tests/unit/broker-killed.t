#!/usr/bin/python3
"""A broker that is killed leaves its VMs to the next one, with fake-vm as VM process."""
import json
import os
import random
import shutil
import signal
import struct
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from broker_kit import CONTROL, CREDIT, DATA, PATIENCE, WINDOW, Closed, main  # noqa: E402

ROUNDS = 60


def wait(what, *args, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not what(*args):
        assert time.monotonic() < deadline, (what, args)
        time.sleep(0.01)


def ended(pid):
    """Also if nobody reaps it."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Stream:
    """A VM that echoes, and a client that knows what pffs knows from its journals."""

    def __init__(self, client):
        self.vm = client.create()["vm"]
        self.client = client
        self.sent = b""  # what we have begun to send
        self.got = b""
        self.begin(WINDOW)

    def begin(self, allowed):
        self.allowed, self.uncredited = allowed, 0

    def again(self, client):
        self.client = client
        reply = client.request("attach", vm=self.vm, **{"from": len(self.got)})
        assert "error" not in reply, reply
        assert reply["from"] == len(self.got), (reply, len(self.got))
        assert len(self.got) <= reply["sent"] <= len(self.sent), (reply, len(self.sent))
        self.begin(WINDOW)
        rest, self.sent = self.sent[reply["sent"]:], self.sent[:reply["sent"]]
        return rest

    def say(self, data):
        while data:
            self.allowed += self.client.credit.pop(self.vm, 0)
            piece = data[:min(self.allowed, random.randrange(1, 60000))]
            if piece:
                data = data[len(piece):]
                self.sent += piece
                self.allowed -= len(piece)
                self.client.send(DATA, piece, self.vm)
            self.hear(bool(piece))

    def hear(self, has_sent=False):
        if has_sent and len(self.sent) - len(self.got) < WINDOW // 2:
            return
        self.client.take()
        data = self.client.data.pop(self.vm, b"")
        self.got += data
        self.uncredited += len(data)
        assert self.sent.startswith(self.got[-1000:], max(0, len(self.got) - 1000)), "not what was sent"
        if self.uncredited > WINDOW // 4:
            self.client.send(CREDIT, struct.pack("<I", self.uncredited), self.vm)
            self.uncredited = 0

    def finish(self):
        while len(self.got) < len(self.sent):
            self.hear()
        assert self.got == self.sent


def test_streams(server):
    "killed 60 times while bytes go both ways: none is lost, and none comes twice"
    random.seed(5)
    stream = Stream(server.client())
    rest = b""
    for _ in range(ROUNDS):
        killer = threading.Timer(random.random() * 0.05, server.process.kill)
        killer.start()
        try:
            while True:
                stream.say(rest or random.randbytes(200000))
                rest = b""
        except (Closed, OSError):
            pass
        killer.join()
        rest = stream.again(server.restart())
    stream.say(rest)
    stream.finish()
    assert len(stream.sent) > 1 << 20, len(stream.sent)


def test_facts(server):
    "the next broker knows all that was known of a VM, and numbers go on"
    client = server.client()
    first = client.create(name="echo-first", group="mine", vcpus=2, memory_mib=300)
    last = client.create(name="echo-last")
    fork = client.request("fork", vm=first["vm"], names=["echo-fork"])["vms"][0]
    client.request("destroy", vm=last["vm"])
    before = client.request("list")["vms"]
    client = server.restart()
    assert client.request("list")["vms"] == before
    assert [vm["vm"] for vm in before] == [first["vm"], fork["vm"]]
    assert client.create()["vm"] > fork["vm"] > last["vm"]
    assert client.request("log", vm=first["vm"])["log"] == "boot log"
    assert client.request("stat", vm=fork["vm"])["memory_bytes"] == 4096


def test_destroy(server):
    "an adopted VM can be destroyed, also one that does not heed it; nothing is left"
    client = server.client()
    pids = [client.create(mode)["pid"] for mode in ("echo", "stubborn", "silent")]
    client = server.restart()
    fds = server.fds()
    vms = [vm["vm"] for vm in client.request("list")["vms"]]
    for vm in vms:
        assert "error" not in client.request("destroy", vm=vm)
    assert all(map(ended, pids))
    assert client.request("list")["vms"] == []
    assert server.fds() == fds - 5 * len(vms), (server.fds(), fds)


def test_forks(server):
    "an adopted VM can be forked, and its forks are told of when they end"
    client = server.client()
    vm = client.create()["vm"]
    client = server.restart()
    client.request("attach", vm=vm)
    forks = client.request("fork", vm=vm, names=[f"echo-{i}" for i in range(3)])["vms"]
    for fork in forks:
        client.send(DATA, b"hello", fork["vm"])
        assert client.wait_data(fork["vm"], 5) == b"hello"
    os.kill(forks[0]["pid"], 9)
    assert "killed by signal 9" in client.wait_event("dead", forks[0]["vm"])["reason"]
    client = server.restart()
    listed = {v["vm"]: v for v in client.request("list")["vms"]}
    assert listed[forks[0]["vm"]]["state"] == "dead", listed
    assert "killed by signal 9" in listed[forks[0]["vm"]]["reason"], "it has been told once"
    os.kill(forks[1]["pid"], 15)
    assert "killed by signal 15" in client.wait_event("dead", forks[1]["vm"])["reason"]


def test_half_made(server):
    "of a fork that was under way nothing is left, and its parent goes on"
    client = server.client()
    made = client.create()
    vm = made["vm"]
    client.send(CONTROL, json.dumps({"op": "fork", "seq": 9, "vm": vm, "names": ["late", "echo-2"]}).encode())

    def children():
        with open(f"/proc/{made['pid']}/task/{made['pid']}/children") as f:
            return f.read().split()

    wait(lambda: len(children()) == 2)
    forks = children()
    client = server.restart()
    assert [v["vm"] for v in client.request("list")["vms"]] == [vm]
    wait(lambda: all(map(ended, forks)))
    client.request("attach", vm=vm)
    fork = client.request("fork", vm=vm, names=["echo-again"])["vms"][0]
    client.send(DATA, b"both", fork["vm"])
    assert client.wait_data(fork["vm"], 4) == b"both"


def test_died_meanwhile(server):
    "of a VM that ended while there was no broker the last words come, and that it is dead"
    client = server.client()
    made = client.create("bye")
    other = client.create()
    server.process.kill()
    server.process.wait()
    os.kill(other["pid"], 9)
    wait(ended, other["pid"])
    client = server.restart()
    wait(lambda: {v["state"] for v in client.request("list")["vms"]} == {"dead"})
    reasons = {v["vm"]: v["reason"] for v in client.request("list")["vms"]}
    assert reasons[made["vm"]] == "the guest shut down" and reasons[other["vm"]], reasons
    reply = client.request("attach", vm=made["vm"], **{"from": 0})
    assert reply["from"] == 0, reply
    words = b"x" * 150000 + b"last words"
    assert client.wait_data(made["vm"], len(words)) == words


def test_keeper_killed(server):
    "a keeper that is killed is replaced, and VMs outlive the broker all the same"
    client = server.client()
    made = client.create()
    first = server.keeper()
    os.kill(first, 9)
    wait(lambda: server.keeper() not in (None, first))
    client.request("list")  # the broker has given it all by then
    client = server.restart()
    assert [vm["pid"] for vm in client.request("list")["vms"]] == [made["pid"]]


def test_both_killed(server):
    "no VM outlives its broker and the keeper"
    client = server.client()
    pids = [client.create()["pid"], client.create("deaf")["pid"]]
    keeper = server.keeper()
    os.kill(server.process.pid, signal.SIGSTOP)  # which would start another one
    os.kill(keeper, 9)
    server.process.kill()
    server.process.wait()
    wait(lambda: all(map(ended, pids)))
    assert server.restart().request("list")["vms"] == []


def test_nobody_comes(server):
    "a keeper whose socket is gone ends, and its VMs with it"
    pid = server.client().create()["pid"]
    keeper = server.keeper()
    server.process.kill()
    server.process.wait()
    os.unlink(server.path + ".keep")
    wait(lambda: ended(keeper) and ended(pid))


def test_keeper_stopped(server):
    "while a keeper does not answer no broker starts, and no VM is lost by that"
    made = server.client().create()
    keeper = server.keeper()
    os.kill(keeper, signal.SIGSTOP)
    try:
        server.process.kill()
        server.process.wait()
        other = server.start(os.path.dirname(server.path), os.path.join(os.path.dirname(server.path), "images"))
        assert other.wait(PATIENCE) != 0
    finally:
        os.kill(keeper, signal.SIGCONT)
    client = server.restart()
    assert [vm["pid"] for vm in client.request("list")["vms"]] == [made["pid"]]


def test_in_order(server):
    "a broker that ends in order leaves no VM, no keeper and no socket"
    made = server.client().create()
    keeper = server.keeper()
    client = server.restart()
    assert len(client.request("list")["vms"]) == 1
    server.process.terminate()
    assert server.process.wait(PATIENCE) == 0
    wait(ended, keeper)
    assert ended(made["pid"]) and not os.path.exists(server.path + ".keep")


def test_living(server):
    "while a broker lives no other one gets its VMs"
    client = server.client()
    client.create()
    directory = os.path.dirname(server.path)
    other = server.start(directory, os.path.join(directory, "images"))
    assert other.wait(PATIENCE) != 0
    assert len(client.request("list")["vms"]) == 1


main(globals())
