#!/usr/bin/python3
"""The relay of the emulated host, with a broker in QEMU's place."""
import json
import os
import resource
import select
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from broker_kit import (CONTROL, CREDIT, DATA, DISKS, HELLO, PATIENCE, TICK, VMCTL, WINDOW, Closed,  # noqa: E402
                        RelayServer, gone, main)


def wait_for(what):
    deadline = time.monotonic() + PATIENCE
    while not what() and time.monotonic() < deadline:
        time.sleep(0.02)
    return what()


def bound(server):
    """A client that has a port. One may be in use a little longer than its client, and a vmctl
    that was started has to come so far.
    """
    last = None
    for _ in range(400):
        client = None
        try:
            client = server.client()
            client.request("list")
            return client
        except (Closed, AssertionError, BrokenPipeError, ConnectionRefusedError,
                FileNotFoundError) as e:
            last = e
            if client:
                client.close()
            time.sleep(0.05)
    raise last


def test_session(server):
    "a session through the relay: create, bytes both ways, destroy"
    client = bound(server)
    vm = client.create()["vm"]
    sent = os.urandom(WINDOW)
    client.send(DATA, sent, vm)
    assert client.wait_data(vm, len(sent)) == sent
    assert "error" not in client.request("destroy", vm=vm)


def test_qemu_arguments(server):
    "the upper disk and then the templates are read-only disks"
    bound(server)
    with open(os.path.join(os.path.dirname(server.path), "bin/qemu-system-x86_64.args")) as f:
        args = f.read()
    assert "lun=0,drive=upper" in args and "-smp 1" in args, args
    assert args.count("readonly=on") == 1, args
    assert server.disks() == [(1, "default.erofs")], server.disks()
    assert server.monitor_text().count('"read-only":true') == 1


def test_new_template(server):
    "a request that follows a new image finds it; a replaced one is a new disk"
    client, other = bound(server), bound(server)
    server.put_template("later")
    assert client.request("stat")["templates"] == ["default", "later"]
    assert server.disks() == [(1, "default.erofs"), (2, "later.erofs")], server.disks()
    server.put_template("later")
    assert "vm" in other.create(template="later")
    assert server.disks()[2:] == [(3, "later.erofs")], server.disks()
    os.unlink(os.path.join(server.templates, "later.erofs"))
    assert client.request("stat")["templates"] == ["default"]
    for number in range(40):
        server.put_template(f"many{number}")
    assert len(client.request("stat")["templates"]) == 41
    assert len({unit for unit, _ in server.disks()}) == 43


def test_refused_template(server):
    "an image that QEMU refuses is told, and harms no other"
    client = bound(server)
    server.put_template("refused")
    server.put_template("taken")
    for _ in range(3):
        assert "templates" in client.request("stat")
    assert [name for _, name in server.disks()].count("refused.erofs") == 1
    assert "vm" in client.create(template="taken")
    server.process.terminate()
    server.process.wait(PATIENCE)
    said = server.process.stderr.read()
    assert said.count("cannot use template refused: it is refused") == 1, said


def test_disks_of_a_client(server):
    "what the relay tells of disks, no client can tell"
    good = bound(server)
    vm = good.create()["vm"]
    assert good.request("disks", units={})["errno"] == 22
    client = bound(server)
    client.send(DISKS, b'{"generation": 99, "units": {"default": 7}}')
    assert client.is_closed()
    server.put_template("later")
    assert good.request("stat")["templates"] == ["default", "later"]
    good.send(DATA, b"still here", vm)
    assert good.wait_data(vm, 10) == b"still here"


def test_ticks(server):
    "the host is woken again and again though nobody asks it anything"
    client = bound(server)
    time.sleep(0.2)
    before = server.host_wakes()
    assert wait_for(lambda: server.host_wakes() >= before + 3)
    assert "vms" in client.request("list")


def test_ticks_of_a_client(server):
    "a client has none to send"
    client = bound(server)
    client.send(TICK)
    assert client.is_closed()
    assert "vms" in bound(server).request("list")


def test_end_while_held(server):
    "what a client has asked for is done, though it ends while QEMU is adding a disk"
    client = bound(server)
    made, other = client.create(), client.create()
    fds = server.fds()
    server.put_template("slow")
    client.send(CONTROL, b'{"op": "stat", "seq": 98}')
    assert wait_for(lambda: "slow.erofs" in server.monitor_text())
    client.send(DATA, bytes(20000), other["vm"])
    client.send(CONTROL, json.dumps({"op": "destroy", "seq": 99, "vm": made["vm"]}).encode())
    client.close()
    assert wait_for(lambda: server.fds() == fds - 1)
    assert not gone(made["pid"])
    with open(os.path.join(server.templates, "slow.erofs.go"), "w"):
        pass
    assert wait_for(lambda: gone(made["pid"])) and not gone(other["pid"])
    clients = [bound(server) for _ in range(4)]
    assert [v["vm"] for v in clients[3].request("list")["vms"]] == [other["vm"]]


def test_broken_monitor(server):
    "a QEMU that speaks no QMP ends vmctl with a sentence"
    client = bound(server)
    server.put_template("nonsense")
    client.send(CONTROL, b'{"op": "stat", "seq": 99}')
    assert server.process.wait(PATIENCE) == 1
    assert "speaks no QMP" in server.process.stderr.read() and client.is_closed()


def test_broken_frames(server):
    "frames that break the protocol end their client and no other"
    good = bound(server)
    vm = good.create()["vm"]
    for bad in (b"GET / HTTP/1.1\r\n\r\n", bytes(12), struct.pack("<IIB3x", 8, 0, HELLO) + b"pffslink"):
        client = server.client(hello=False)
        client.sock.sendall(bad)
        assert client.is_closed()
    for bad in (struct.pack("<IIB3x", 1 << 30, 0, DATA), struct.pack("<IIB3x", 0, 5, CONTROL),
                struct.pack("<IIB3x", 1, 0, DATA) + b"x"):
        client = bound(server)
        client.sock.sendall(bad)
        assert client.is_closed()
    good.send(DATA, b"still here", vm)
    assert good.wait_data(vm, 10) == b"still here"


def test_other_version(server):
    "a client of another version is told ours and sent away"
    bound(server)
    client = server.client(hello=False)
    assert struct.unpack("<I", client.hello(version=77)[8:12])[0] == 1
    assert client.is_closed()


def test_too_many(server):
    "more clients than ports: the next one is refused with a sentence"
    clients = [bound(server) for _ in range(4)]
    extra = server.client()
    assert extra.is_closed()
    assert extra.replies[None]["errno"] == 16 and "no more clients" in extra.replies[None]["error"]
    done = subprocess.run([VMCTL, "list", "--socket", server.path], stderr=subprocess.PIPE,
                          universal_newlines=True, check=False, timeout=PATIENCE)
    assert done.returncode == 1 and "no more clients" in done.stderr, done
    clients[2].close()
    assert "vms" in bound(server).request("list")


def test_half_frame(server):
    "a client that dies in the middle of a frame leaves nothing of it"
    for _ in range(6):
        client = bound(server)
        vm = client.create()["vm"]
        client.send(DATA, b"whole", vm)
        client.wait_data(vm, 5)
        client.sock.sendall(struct.pack("<IIB3x", 1000, vm, DATA) + b"half")
        client.close()
    client = bound(server)
    assert len(client.request("list")["vms"]) == 6
    client.request("attach", vm=vm)
    client.send(DATA, b"next", vm)
    assert client.wait_data(vm, 4) == b"next"


def test_leftovers(server):
    "what was on its way to a client that left does not reach the next one"
    for _ in range(8):
        client = bound(server)
        vms = [client.create("flood")["vm"] for _ in range(3)]
        assert vms
        client.close()
    client = bound(server)
    client.quiet(0.3)
    assert client.data == {} and client.events == [], (client.data.keys(), client.events)
    assert len(client.request("list")["vms"]) == 24


def test_slow_client(server):
    "a client that does not read stalls no other client"
    slow, good = bound(server), bound(server)
    for _ in range(8):
        slow.send(CONTROL, json.dumps({
            "op": "create", "seq": 1, "template": "default", "name": "flood",
            "memory_mib": 128, "vcpus": 1}).encode())
    vm = good.create()["vm"]
    sent = os.urandom(100000)
    good.send(DATA, sent, vm)
    assert good.wait_data(vm, len(sent)) == sent
    while len(slow.data) < 8 or any(len(data) < WINDOW for data in slow.data.values()):
        slow.take()
    slow.quiet(0.5)
    assert all(len(data) == WINDOW for data in slow.data.values()) and len(slow.data) == 8


def test_credit_many(server):
    "bytes of several channels arrive whole and in order through the relay"
    client = bound(server)
    vms = [client.create()["vm"] for _ in range(3)]
    sent = {vm: os.urandom(3 * WINDOW) for vm in vms}
    at = dict.fromkeys(vms, 0)
    allowed = dict.fromkeys(vms, WINDOW)
    got = dict.fromkeys(vms, b"")
    while any(len(got[vm]) < len(sent[vm]) for vm in vms):
        for vm in vms:
            allowed[vm] += client.credit.pop(vm, 0)
            piece = sent[vm][at[vm]:at[vm] + min(allowed[vm], 30000)]
            if piece:
                client.send(DATA, piece, vm)
                at[vm] += len(piece)
                allowed[vm] -= len(piece)
        client.take()
        for vm in vms:
            data = client.data.pop(vm, b"")
            if data:
                got[vm] += data
                client.send(CREDIT, struct.pack("<I", len(data)), vm)
    assert got == sent


def test_host_ends(server):
    "the end of the emulated host ends vmctl, with what its console said last"
    client = bound(server)
    os.kill(server.pid_of("qemu"), 9)
    assert server.process.wait(PATIENCE) == 1
    assert "the emulated host has ended" in server.process.stderr.read()
    assert client.is_closed() and not os.path.exists(server.path)


def test_vmctl_killed(server):
    "vmctl is killed: the next one finds the same machines, and ends them when it ends"
    client = bound(server)
    vm = client.create()
    qemu = server.pid_of("qemu")
    server.restart()
    client = bound(server)
    assert server.pid_of("qemu") == qemu
    assert [(v["vm"], v["pid"]) for v in client.request("list")["vms"]] == [(vm["vm"], vm["pid"])]
    assert "error" not in client.request("attach", vm=vm["vm"])
    client.send(DATA, b"still here", vm["vm"])
    assert client.wait_data(vm["vm"], 10) == b"still here"
    server.process.terminate()
    assert server.process.wait(PATIENCE) == 0
    assert wait_for(lambda: gone(qemu) and gone(vm["pid"])) and not os.path.exists(server.path + ".host")


def test_killed_early(server):
    "and so when the host had not come up yet, or is killed again and again"
    for pause in (0, 0.05, 0.1, 0.2, 0.4):
        time.sleep(pause)
        server.restart()
    client = bound(server)
    vm = client.create()["vm"]
    for pause in (0, 0.02, 0.1, 0):
        time.sleep(pause)
        server.restart()
    assert [v["vm"] for v in bound(server).request("list")["vms"]] == [vm]


def test_killed_in_frames(server):
    "killed while bytes go both ways: each direction goes on at a byte that both sides know"
    client = bound(server)
    vm = client.create()["vm"]
    sent, got = os.urandom(6 * WINDOW), b""
    at, allowed = 0, WINDOW
    for number in range(1, 9):
        while len(got) < number * len(sent) // 8:
            piece = sent[at:at + min(allowed, 30000)]
            if piece:
                client.send(DATA, piece, vm)
                at, allowed = at + len(piece), allowed - len(piece)
            client.take()
            data = client.data.pop(vm, b"")
            got += data
            allowed += client.credit.pop(vm, 0)
            if data:
                client.send(CREDIT, struct.pack("<I", len(data)), vm)
        if number < 8:
            server.restart()
            client = bound(server)
            reply = client.request("attach", vm=vm, **{"from": len(got)})
            assert "error" not in reply and reply["from"] == len(got), (reply, len(got))
            at, allowed = reply["sent"], WINDOW
    assert got == sent, (len(got), len(sent))


def test_killed_with_disks(server):
    "the next vmctl knows the disks; one that was being added is added again"
    client = bound(server)
    server.put_template("later")
    assert client.request("stat")["templates"] == ["default", "later"]
    server.put_template("slow")
    client.send(CONTROL, b'{"op": "stat", "seq": 98}')
    assert wait_for(lambda: "slow.erofs" in server.monitor_text())
    with open(os.path.join(server.templates, "slow.erofs.go"), "w"):
        pass
    server.restart()
    client = bound(server)
    assert client.request("stat")["templates"] == ["default", "later", "slow"]
    files = [(unit, name) for unit, name in server.disks() if name != "slow.erofs"]
    assert files == [(1, "default.erofs"), (2, "later.erofs")], server.disks()
    units = [unit for unit, _ in server.disks()]
    assert len(set(units)) == len(units), server.disks()
    server.put_template("later")
    assert "vm" in client.create(template="later")


def test_killed_with_qemu(server):
    "what is left of a dead QEMU is no hindrance"
    bound(server)
    os.kill(server.pid_of("qemu"), 9)
    server.restart()
    client = bound(server)
    assert client.request("list")["vms"] == [] and "vm" in client.create()


def test_other_images(server):
    "a QEMU with other images is not taken up, and not ended"
    vm = bound(server).create()["vm"]
    qemu, images = server.pid_of("qemu"), server.images
    server.images = os.path.join(os.path.dirname(server.path), "others")
    os.mkdir(server.images)
    server.restart()
    assert server.process.wait(PATIENCE) == 1
    said = server.process.stderr.read()
    assert "started with other images" in said and f"kill {qemu}" in said, said
    server.images = images
    server.restart()
    assert [v["vm"] for v in bound(server).request("list")["vms"]] == [vm]


def test_too_few_descriptors(server):
    "a vmctl that is not able to take a QEMU up leaves it to the next one"
    vm = bound(server).create()["vm"]
    qemu, failed, said = server.pid_of("qemu"), 0, ""
    for most in range(6, 100):
        server.restart(preexec_fn=lambda most=most: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)))
        assert select.select([server.process.stderr], [], [], PATIENCE)[0], f"{most} descriptors: it says nothing"
        said = server.process.stderr.readline()
        if "taken up" in said:
            break
        assert server.process.wait(PATIENCE) and not gone(qemu), said
        assert os.path.exists(server.path + ".host/monitor"), "nobody finds it any more"
        failed += "take up" in said
    assert "taken up" in said and failed, (said, failed)
    server.restart()
    assert [v["vm"] for v in bound(server).request("list")["vms"]] == [vm]
    assert server.pid_of("qemu") == qemu


def test_lost_disks(server):
    "a QEMU whose disks are not known is ended, and another one started"
    bound(server)
    qemu = server.pid_of("qemu")
    os.unlink(server.path + ".host/disks")
    server.restart()
    assert bound(server).request("list")["vms"] == []
    assert wait_for(lambda: gone(qemu)) and server.pid_of("qemu") != qemu


def test_missing(_):
    "a missing image or QEMU is named, with the command that mends it"
    with tempfile.TemporaryDirectory() as directory:
        def serve(path=os.environ["PATH"]):
            done = subprocess.run([VMCTL, "serve", "--engine", "emulated", "--images", directory,
                                   "--socket", directory + "/sock"], stderr=subprocess.PIPE,
                                  universal_newlines=True, check=False, timeout=PATIENCE,
                                  env={**os.environ, "PATH": path})
            assert done.returncode == 1 and not os.path.exists(directory + "/sock"), done
            return done.stderr

        for name in ("kernel", "initramfs", "upper.ext4", "host-initramfs"):
            said = serve()
            assert name in said and "guest/images/build" in said, said
            open(os.path.join(directory, name), "w").close()
        assert "apt-get install qemu-system-x86" in serve(path="/nonexistent")


main(globals(), RelayServer)
