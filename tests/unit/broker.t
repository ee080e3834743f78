#!/usr/bin/python3
"""The broker keeps its promises to several clients, with fake-vm as VM process."""
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import termios
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from broker_kit import (  # noqa: E402
    BYE, CONTROL, CREDIT, DATA, DISKS, HELLO, PATIENCE, VMCTL, WINDOW, Client, gone, main)
from wait_kit import until  # noqa: E402


def test_session(server):
    "create, list, stat, log, destroy"
    client = server.client()
    made = client.create(name="echo-one")
    vm = made["vm"]
    listed = client.request("list")["vms"]
    assert len(listed) == 1, listed
    expect = {"vm": vm, "name": "echo-one", "group": "", "template": "default", "state": "running",
              "pid": made["pid"], "memory_mib": 256, "vcpus": 1, "reason": "",
              "connected": False}
    assert listed[0] == expect, listed
    stat = client.request("stat")
    assert stat["engine"] == "kvm" and stat["vms"] == 1 and stat["templates"] == ["default"]
    assert stat["uptime_s"] >= 0 and stat["version"]
    assert stat["memory_available"] > 1 << 20
    assert stat["descriptors"] == server.fds(), stat
    stat = client.request("stat", vm=vm)
    assert stat["cpu_usec"] == 5 and stat["memory_bytes"] == 4096 and stat["name"] == "echo-one"
    assert stat["memory_private"] == 1024 and stat["memory_shared"] == 512
    assert client.request("list", after=vm)["vms"] == []
    assert client.request("log", vm=vm)["log"] == "boot log"
    done = client.request("destroy", vm=vm)
    assert "error" not in done, done
    assert gone(made["pid"])
    assert client.request("list")["vms"] == []
    assert client.request("destroy", vm=vm)["errno"] == 2
    assert client.create()["vm"] > vm, "an id is never used twice"


def test_echo(server):
    "bytes arrive unchanged in both directions, with credit"
    client = server.client()
    vm = client.create()["vm"]
    sent = os.urandom(1 << 20)
    got = b""
    allowed = WINDOW
    at = 0
    while len(got) < len(sent):
        allowed += client.credit.pop(vm, 0)
        piece = sent[at:at + min(allowed, 50000)]
        if piece:
            client.send(DATA, piece, vm)
            at += len(piece)
            allowed -= len(piece)
        client.take()
        data = client.data.pop(vm, b"")
        if data:
            got += data
            client.send(CREDIT, struct.pack("<I", len(data)), vm)
    assert got == sent


def test_descriptors(server):
    "a VM process has descriptors 0 to 4 and no others"
    other = server.client()
    other.create()
    client = server.client()
    vm = client.create("fds")["vm"]
    client.wait_data(vm, 3)
    assert json.loads(client.data[vm]) == [0, 1, 2, 3, 4], client.data[vm]


def test_bad_requests(server):
    "a wrong request gets EINVAL or ENOENT and a sentence, and the client stays"
    client = server.client()

    def error(payload):
        client.send(CONTROL, payload)
        while True:
            client.take()
            if client.replies:
                return client.replies.popitem()[1]

    for payload in (b"", b"nonsense", b"[1]", b'{"op":"list"}', b'{"seq":1}', b'{"seq":"x","op":"list"}',
                    b'{"seq":1,"op":5}', b'{"seq":1,"op":"fly"}', b"[" * 100000,
                    b'{"seq":1,"seq":1,"op":"list"}', b'{"seq":1,"op":"' + b"\xc3\xa9" * 50 + b'"}'):
        reply = error(payload)
        assert reply["errno"] == 22 and len(reply["error"]) > 10, (payload[:50], reply)
    assert error(b'{"op":"fly","seq":7}')["seq"] == 7
    for wrong in ({"template": 5}, {"template": "../x"}, {"template": ""}, {"name": ""},
                  {"name": "a b"}, {"name": "x" * 129}, {"memory_mib": 127},
                  {"memory_mib": "256"}, {"vcpus": 0}, {"vcpus": 9}, {"vcpus": 1.5},
                  {"disk_mib": 63}, {"disk_mib": 65537}, {"disk_mib": "4096"}, {"disk_mib": None},
                  {"template": None}, {"name": None}, {"memory_mib": None}):
        reply = client.create(**wrong)
        assert reply["errno"] == 22 and reply["error"], (wrong, reply)
    reply = client.create(template="missing")
    assert reply["errno"] == 2 and "guest/images/build missing" in reply["error"], reply
    for op in ("destroy", "attach", "stat", "log", "kill"):
        assert client.request(op, vm=0)["errno"] == 22
        assert client.request(op, vm=999999)["errno"] == 2, op
    vm = client.create()["vm"]
    assert client.request("kill", vm=vm, signal=0)["errno"] == 22
    assert client.request("kill", vm=vm)["errno"] == 22


def test_broken_frames(server):
    "frames that break the protocol end their client and no other"
    good = server.client()
    vm = good.create()["vm"]

    def hostile(*frames, hello=True):
        client = server.client(hello=hello)
        for frame in frames:
            client.sock.sendall(frame)
        assert client.is_closed()

    def frame(kind, channel=0, payload=b"", length=None):
        length = len(payload) if length is None else length
        return struct.pack("<IIB3x", length, channel, kind) + payload

    hostile(b"GET / HTTP/1.1\r\n\r\n", hello=False)
    hostile(frame(CONTROL, 0, b'{"op":"list","seq":1}'), hello=False)
    hostile(frame(HELLO, 0, b"pffslink"), hello=False)
    hostile(frame(HELLO, 0, b"pffslink" + bytes(20)))
    hostile(frame(CONTROL, 1, b"{}"))
    hostile(frame(DATA, 0, b"x"))
    hostile(frame(DISKS, 0, b'{"generation":9,"units":{}}'))
    hostile(frame(99))
    hostile(frame(DATA, 1, length=1 << 30))
    hostile(b"\0\0\0\0\0\0\0\0\2\1\1\1")
    for name, frames in (
            ("credit for nothing", lambda vm: frame(CREDIT, vm, struct.pack("<I", 1))),
            ("long credit", lambda vm: frame(CREDIT, vm, b"12345")),
            ("beyond the window", lambda vm: frame(DATA, vm, bytes(WINDOW)) + frame(DATA, vm, b"x" * WINDOW))):
        client = server.client()
        own = client.create("deaf")["vm"]
        client.sock.sendall(frames(own))
        assert client.is_closed(), name
    good.send(DATA, b"still here", vm)
    assert good.wait_data(vm, 10) == b"still here"


def test_other_version(server):
    "a client of another version is told ours and sent away"
    client = server.client(hello=False)
    payload = client.hello(version=77)
    assert struct.unpack("<I", payload[8:12])[0] == 1
    assert client.is_closed()


def test_foreign_channel(server):
    "bytes for a channel of another client are ignored"
    owner, other = server.client(), server.client()
    vm = owner.create()["vm"]
    other.send(DATA, b"intruder", vm)
    other.send(CREDIT, struct.pack("<I", 1000), vm)
    assert "vms" in other.request("list")
    owner.send(DATA, b"mine", vm)
    assert owner.wait_data(vm, 4) == b"mine"


def test_credit(server):
    "a channel without credit stalls alone, and at its window"
    client = server.client()
    flood = client.create("flood")["vm"]
    echo = client.create()["vm"]
    client.wait_data(flood, WINDOW)
    client.quiet(0.3)
    assert len(client.data[flood]) == WINDOW, len(client.data[flood])
    client.send(DATA, b"hello", echo)
    assert client.wait_data(echo, 5) == b"hello"
    client.send(CREDIT, struct.pack("<I", 1000), flood)
    client.wait_data(flood, WINDOW + 1000)
    client.quiet(0.2)
    assert len(client.data[flood]) == WINDOW + 1000
    assert client.request("stat", vm=flood)["disk_bytes"] < WINDOW + 1000 + (1 << 20)


def test_deaf_vm(server):
    "a VM that takes no input stalls its channel alone"
    client = server.client()
    deaf = client.create("deaf")["vm"]
    echo = client.create()["vm"]
    client.send(DATA, bytes(WINDOW), deaf)
    client.send(DATA, b"hello", echo)
    assert client.wait_data(echo, 5) == b"hello"
    assert "error" not in client.request("destroy", vm=deaf)


def test_dead(server):
    "the dead event has the reason and comes after the channel's last byte"
    watcher = server.client()
    client = server.client()
    vm = client.create("bye")["vm"]
    event = client.wait_event("dead", vm)
    assert event["reason"] == "the guest shut down", event
    assert client.data[vm].endswith(b"last words") and len(client.data[vm]) == 150010
    assert client.order[-1] == ("dead", vm)
    assert watcher.wait_event("dead", vm)["reason"] == "the guest shut down"
    assert client.request("list")["vms"][0]["state"] == "dead"
    assert client.request("list")["vms"][0]["reason"] == "the guest shut down"
    assert client.request("log", vm=vm)["log"] == "it said \u00e9"
    assert client.request("stat", vm=vm)["cpu_usec"] == 0
    assert client.request("kill", vm=vm, signal=9)["errno"] == 3
    client.send(DATA, b"too late", vm)
    assert "error" not in client.request("destroy", vm=vm)
    assert client.request("list")["vms"] == []


def test_dead_without_reason(server):
    "a VM process that ends without a word is given a reason"
    client = server.client()
    vm = client.create("quit")["vm"]
    assert "status 3" in client.wait_event("dead", vm)["reason"]
    made = client.create()
    assert "error" not in client.request("kill", vm=made["vm"], signal=int(signal.SIGKILL))
    assert "killed by signal 9" in client.wait_event("dead", made["vm"])["reason"]
    vm = client.create("nonsense")["vm"]
    assert "broke the rules" in client.wait_event("dead", vm)["reason"]


def test_babble(server):
    "processes that a VM's has left, and that go on talking to the broker, do not keep it busy"
    client = server.client()
    vm = client.create("babble")["vm"]
    assert "status 3" in client.wait_event("dead", vm)["reason"]
    assert "error" not in client.request("destroy", vm=vm)
    assert client.request("list")["vms"] == []


def test_urgent(server):
    "a byte that a VM's process sends out of band is one like the others"
    client = server.client()
    vm = client.create("urgent")["vm"]
    assert client.wait_data(vm, 1) == b"!"
    client.send(DATA, b"hello", vm)
    assert client.wait_data(vm, 6) == b"!hello"


def test_stubborn(server):
    "a VM process that does not end when told to is killed"
    client = server.client()
    made = client.create("stubborn")
    assert "error" not in client.request("destroy", vm=made["vm"])
    assert gone(made["pid"])


def test_detach(server):
    "a VM outlives its client, its output waits, and another client can attach"
    first = server.client()
    vm = first.create("bye")["vm"]
    alive = first.create()["vm"]
    first.close()
    second = server.client()
    while second.request("list")["vms"][0]["state"] != "dead":
        time.sleep(0.01)
    reply = second.request("attach", vm=alive)
    assert reply["state"] == "running" and reply["name"] == "echo"
    second.send(DATA, b"again", alive)
    assert second.wait_data(alive, 5) == b"again"
    second.request("attach", vm=vm)
    second.events.clear()
    assert second.wait_event("dead", vm)["reason"] == "the guest shut down"
    if vm in second.data:
        assert second.data[vm].endswith(b"last words")


def test_take_up(server):
    "who attaches tells what he knows of the stream, and gets what is kept of the rest"
    first = server.client()
    vm = first.create()["vm"]
    first.send(DATA, b"known, credited, lost", vm)
    first.wait_data(vm, 21)
    first.send(CREDIT, struct.pack("<I", 16), vm)
    assert "vms" in first.request("list")
    first.close()
    second = server.client()
    reply = second.request("attach", vm=vm, **{"from": 7})
    assert reply["from"] == 16 and reply["sent"] == 21, reply
    assert second.wait_data(vm, 5) == b" lost"
    second.close()
    third = server.client()
    reply = third.request("attach", vm=vm, **{"from": 19})
    assert reply["from"] == 19, reply
    assert third.wait_data(vm, 2) == b"st"
    third.send(DATA, b"more", vm)
    assert third.wait_data(vm, 6) == b"stmore"
    fourth = server.client()
    reply = fourth.request("attach", vm=vm)
    assert reply["from"] == 25 and reply["sent"] == 25, reply
    assert "errno" in fourth.request("attach", vm=vm, **{"from": -1})
    fourth.send(DATA, b"now", vm)
    assert fourth.wait_data(vm, 3) == b"now"


def test_half_frame(server):
    "of a client that is killed in the middle of a frame nothing of that reaches the VM"
    first = server.client()
    vm = first.create()["vm"]
    first.send(DATA, b"whole", vm)
    first.sock.sendall(struct.pack("<IIB3x", 7, vm, DATA) + b"cut")
    first.wait_data(vm, 5)
    first.close()
    second = server.client()
    assert second.request("attach", vm=vm, **{"from": 5})["sent"] == 5
    second.send(DATA, b"next", vm)
    assert second.wait_data(vm, 4) == b"next"


def last_words(server, client, vm, *frames):
    """What a client says while the broker cannot look, and hangs up; then it looks."""
    os.kill(server.process.pid, signal.SIGSTOP)
    client.sock.settimeout(None)  # else it would wait for a stream that is nearly empty
    for frame in frames:
        client.send(*frame)
    client.send(CONTROL, json.dumps({"op": "destroy", "seq": 1, "vm": vm}).encode())
    client.close()
    os.kill(server.process.pid, signal.SIGCONT)
    other = server.client()
    until(lambda: not other.request("list")["vms"], "its VM runs on", PATIENCE)


def test_unread_replies(server):
    "what a client says last counts, who has not read what he was told"
    client, other = server.client(), server.client()
    vm = client.create()["vm"]
    asked = 1500
    size = len(json.dumps(other.request("stat"), separators=(",", ":")))
    for _ in range(asked):
        client.send(CONTROL, b'{"op":"stat","seq":1}')
    other.request("list")
    here = struct.unpack("i", fcntl.ioctl(client.sock, termios.FIONREAD, bytes(4)))[0]
    assert here < asked * size, "the broker has nothing left to say"
    last_words(server, client, vm)


def test_long_words(server):
    "what a client says last counts, however much that is"
    client = server.client()
    vm = client.create("deaf")["vm"]
    last_words(server, client, vm, (DATA, bytes(72 << 10), vm))


def test_no_reader(server):
    "what a client says counts, who takes no replies"
    client, other = server.client(), server.client()
    vm = client.create()["vm"]
    client.sock.shutdown(socket.SHUT_RD)
    client.send(CONTROL, b'{"op":"stat","seq":1}')
    for _ in range(3):
        other.request("list")  # that was tried to be answered
    client.send(CONTROL, json.dumps({"op": "destroy", "seq": 2, "vm": vm}).encode())
    until(lambda: not other.request("list")["vms"], "its VM runs on", PATIENCE)


def test_group(server):
    "a group is told of each VM, and forks and others are told apart by it"
    client = server.client()
    one, other = client.create(group="mine")["vm"], client.create()["vm"]
    groups = {vm["vm"]: vm["group"] for vm in client.request("list")["vms"]}
    assert groups[one] == "mine" and groups[other] == "", groups
    assert "errno" in client.create(group="a b")


def test_steal(server):
    "a channel belongs to the client that attached last"
    first, second = server.client(), server.client()
    vm = first.create()["vm"]
    first.send(DATA, b"one", vm)
    first.wait_data(vm, 3)
    assert "error" not in second.request("attach", vm=vm)
    first.wait_event("detached", vm)
    first.send(DATA, b"ignored", vm)
    assert "vms" in first.request("list")
    second.send(DATA, b"two", vm)
    assert second.wait_data(vm, 3) == b"two"


def test_bye(server):
    "LINK_BYE ends a session and not the stream"
    client = server.client()
    vm = client.create()["vm"]
    client.send(BYE)
    assert client.hello(nonce=b"second session..")[12:] == b"second session.."
    client.send(DATA, b"not mine any more", vm)
    assert "error" not in client.request("attach", vm=vm)
    client.send(DATA, b"mine", vm)
    assert client.wait_data(vm, 4) == b"mine"


def test_deaf_client(server):
    "a client that does not read what it asks for stalls itself alone"
    deaf, good = server.client(), server.client()
    deaf.sock.settimeout(1)
    try:
        while True:
            deaf.send(CONTROL, json.dumps({"op": "fly" * 5000, "seq": 1}).encode())
    except (TimeoutError, socket.timeout):
        pass
    assert "vms" in good.request("list")
    vm = good.create()["vm"]
    good.send(DATA, b"hello", vm)
    assert good.wait_data(vm, 5) == b"hello"


def test_large_replies(server):
    "a reply that would not fit a frame is cut, or comes in parts"
    client = server.client()
    vm = client.create("escape")["vm"]
    log = client.request("log", vm=vm)["log"]
    assert 30000 < len(log) < 65536 and set(log) == {"\x1b"}


def test_many(server):
    "many clients with a VM each; nothing is left of them"
    first = server.client()
    first.request("list")
    before = server.fds() - 1
    first.close()
    clients = [server.client() for _ in range(30)]
    vms = [client.create()["vm"] for client in clients]
    for client, vm in zip(clients, vms):
        client.send(DATA, b"n" * 1000 + str(vm).encode(), vm)
    for client, vm in zip(clients, vms):
        assert client.wait_data(vm, 1000 + len(str(vm))).endswith(str(vm).encode())
    for client, vm in zip(clients, vms):
        assert "error" not in client.request("destroy", vm=vm)
        client.close()
    last = server.client()
    assert last.request("list")["vms"] == []
    last.close()
    deadline = time.monotonic() + PATIENCE
    while (server.fds() != before or server.children()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.children() == [], server.children()
    assert server.fds() == before, (before, server.fds())


def test_ctl(server):
    "vmctl list, stat, log and kill"
    client = server.client()
    made = client.create(name="echo-ctl")

    def vmctl(*args, status=0):
        done = subprocess.run([VMCTL, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True, timeout=PATIENCE, check=False,
                              env={**os.environ, "PFFS_VMCTL_SOCKET": server.path})
        assert done.returncode == status, (args, done)
        return done.stdout + done.stderr

    assert "echo-ctl" in vmctl("list")
    assert json.loads(vmctl("list", "--json"))["vms"][0]["vm"] == made["vm"]
    assert "engine kvm" in vmctl("stat")
    assert json.loads(vmctl("stat", "--json", str(made["vm"])))["memory_bytes"] == 4096
    assert vmctl("log", str(made["vm"])) == "boot log"
    assert "there is no VM" in vmctl("log", "999", status=1)
    vmctl("kill", str(made["vm"]), "15")
    assert "signal 15" in client.wait_event("dead", made["vm"])["reason"]
    assert "usage" in vmctl("list", "--frob", status=2)
    assert "usage" in vmctl("frob", status=2)
    assert "usage" in vmctl("--help")
    assert "vmctl" in vmctl("--version")
    assert "vmctl serve" in vmctl("list", "--socket", "/nonexistent/sock", status=1)


def has_open(pid, path):
    """Does a process have this file open?"""
    folder = f"/proc/{pid}/fd"
    for fd in os.listdir(folder):
        try:
            if os.readlink(os.path.join(folder, fd)) == path:
                return True
        except FileNotFoundError:
            continue  # closed meanwhile
    return False


def test_two_at_once(server):
    "of two that start at once one serves, whom clients reach, and the other one says why not"
    folder = os.path.join(os.path.dirname(server.path), "two")
    path = os.path.join(folder, "sock")
    os.mkdir(folder)
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    both = [subprocess.Popen([VMCTL, "serve", "--engine", "kvm", "--socket", path, "--images", folder],
                             stderr=subprocess.PIPE, universal_newlines=True) for _ in range(2)]
    try:
        until(lambda: all(has_open(each.pid, folder) for each in both), "not one after the other", PATIENCE)
        os.close(lock)
        until(lambda: any(each.poll() is not None for each in both), "both serve", PATIENCE)
        one, other = sorted(both, key=lambda each: each.poll() is not None)
        assert other.wait() == 1 and "in use by a running server" in other.stderr.read()
        client = Client(path)
        assert client.request("stat")["vms"] == 0
        client.close()
        one.terminate()
        assert one.wait(PATIENCE) == 0
        assert os.listdir(folder) == []
    finally:
        for each in both:
            each.kill()
            each.communicate()


def test_locked(server):
    "a directory that somebody keeps locked stops nobody"
    folder = os.path.dirname(server.path)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        late = subprocess.Popen([VMCTL, "serve", "--engine", "kvm", "--socket", server.path + ".late"])
        until(lambda: os.path.exists(server.path + ".late"), "it does not serve", PATIENCE)
        Client(server.path + ".late").close()  # who answers hears signals
        late.terminate()
        assert late.wait(PATIENCE) == 0
    finally:
        os.close(lock)


def test_name_of_another(server):
    "a socket that another one has put in the place of its own is left alone"
    server.client().close()  # who answers hears signals, and knows its socket
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(server.path + ".other")
        os.rename(server.path + ".other", server.path)
        server.process.terminate()
        assert server.process.wait(PATIENCE) == 0
        assert os.path.exists(server.path)


def test_sigterm(server):
    "SIGTERM ends every VM, removes the socket and exits 0"
    client = server.client()
    pids = [client.create()["pid"], client.create("flood")["pid"]]
    server.process.terminate()
    assert server.process.wait(PATIENCE) == 0
    assert not os.path.exists(server.path)
    assert all(map(gone, pids))


main(globals())
