#!/usr/bin/python3
"""Real VM processes are frozen to files and resumed, on this machine's KVM, with a guest
of a page of code; and what becomes of a file that is not what it was.
"""
import os
import random
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from broker_kit import VMCTL, Server, gone, main  # noqa: E402
from tiny_kernel import GREETING, make_images  # noqa: E402

MEMORY_MIB = 128
ROUNDS = 200
EBADMSG, EBUSY, EEXIST, EINVAL, EIO, ENOENT, ENOSPC, ENOTSUP, ESTALE = (
    74, 16, 17, 22, 5, 2, 28, 95, 116)


class FreezeServer(Server):
    """A broker whose VMs are real, with a state directory."""

    def start(self, directory, images):
        make_images(images, MEMORY_MIB)
        self.images = images
        self.state = os.path.join(directory, "state")
        return self.run()

    def run(self):
        return subprocess.Popen([VMCTL, "serve", "--engine", "kvm", "--socket", self.path,
                                 "--images", self.images, "--state", self.state])

    def again(self):
        """Another broker in the place of one that has ended. Return: a client of it."""
        self.process = self.run()
        deadline = time.monotonic() + 20
        while True:
            try:
                return self.client()
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def file(self, name):
        return os.path.join(self.state, name + ".vm")

    def files(self):
        return sorted(set(os.listdir(self.state)) - {"lock"})


def wait(what, *args):
    deadline = time.monotonic() + 20
    while not what(*args):
        assert time.monotonic() < deadline, (what, args)
        time.sleep(0.02)


def boot(client, name="parent", vcpus=1):
    made = client.create(name, memory_mib=MEMORY_MIB, vcpus=vcpus)
    assert "error" not in made, made
    wait(lambda: GREETING in client.request("log", vm=made["vm"])["log"])
    return made


def done(reply):
    assert "error" not in reply, reply
    return reply


def freeze(client, vm, image, **more):
    return client.request("freeze", vm=vm["vm"], image=image, **more)


def thaw(client, image, name="back"):
    return client.request("thaw", image=image, name=name)


def runs(client, vm):
    """It answers, and what its guest had said is there."""
    assert GREETING in done(client.request("log", vm=vm["vm"]))["log"]
    assert len(done(client.request("fork", vm=vm["vm"], names=["child"]))["vms"]) == 1
    with open(f"/proc/{vm['pid']}/task/{vm['pid']}/status") as f:
        return "State:" in f.read()


def test_freeze(server):
    "a frozen VM is a file and no process, and goes on when it is resumed"
    client = server.client()
    vm = boot(client, vcpus=2)
    reply = done(freeze(client, vm, "box"))
    assert reply["bytes"] == os.path.getsize(server.file("box"))
    wait(gone, vm["pid"])
    wait(lambda: client.request("list")["vms"] == [])
    assert client.request("images")["images"] == ["box"]
    for generation in range(3):
        vm = done(thaw(client, "box", f"again{generation}"))
        listed = [v for v in client.request("list")["vms"] if v["vm"] == vm["vm"]]
        assert listed[0]["name"] == f"again{generation}", listed
        assert (listed[0]["memory_mib"], listed[0]["vcpus"]) == (MEMORY_MIB, 2)
        assert runs(client, vm)
    assert done(client.request("drop", image="box")) and server.files() == []
    assert runs(client, vm), "it needs its file, and not the file's name"
    done(freeze(client, vm, "box"))
    assert runs(client, done(thaw(client, "box")))


def test_small(server):
    "pages of zeros are not stored"
    client = server.client()
    done(freeze(client, boot(client), "box"))
    assert os.path.getsize(server.file("box")) < 16 << 20


def test_base(server):
    "nor are those that are what they were in a machine that is kept beside it"
    client = server.client()
    parent = boot(client)
    assert client.request("save", vm=parent["vm"], image="base")["errno"] == EBUSY
    done(client.request("park", vm=parent["vm"]))
    done(client.request("save", vm=parent["vm"], image="base"))
    done(client.request("save", vm=parent["vm"], image="base"))
    assert "error" in thaw(client, "base"), "a memory is no machine"
    names = ["a", "b", "c"]
    for name, vm in zip(names, client.request("fork", vm=parent["vm"], names=names)["vms"]):
        done(freeze(client, vm, name, base="base"))
        assert os.path.getsize(server.file(name)) < os.path.getsize(server.file("base")) / 2
    done(client.request("destroy", vm=parent["vm"]))
    back = done(thaw(client, "a"))
    assert runs(client, back)
    done(client.request("drop", image="a"))
    done(freeze(client, back, "a"))
    assert os.path.getsize(server.file("a")) < os.path.getsize(server.file("base")) / 2
    for name in names:
        assert "base.vm" in server.files(), name
        done(client.request("drop", image=name))
    children = [vm for vm in client.request("list")["vms"]]
    for vm in children:
        done(client.request("destroy", vm=vm["vm"]))
    wait(lambda: server.files() == [])  # what nobody needs goes, behind its last VM


def test_refusals(server):
    "what cannot be is refused, and the VM goes on"
    client, other = server.client(), server.client()
    vm = boot(client)
    assert freeze(other, vm, "box")["errno"] == 1
    assert freeze(client, vm, "../box")["errno"] == EINVAL
    assert thaw(client, "box")["errno"] == ENOENT
    assert client.request("drop", image="box")["errno"] == ENOENT
    open(server.file("box"), "w").close()
    assert freeze(client, vm, "box")["errno"] == EEXIST
    assert thaw(client, "box")["errno"] == EBADMSG
    assert runs(client, vm) and server.files() == ["box.vm"]


def test_replaced_image(server):
    "a guest does not wake up on another image of its template"
    client = server.client()
    done(freeze(client, boot(client), "box"))
    path = os.path.join(server.images, "templates/default.erofs")
    with open(path, "r+b") as f:
        f.write(b"another")
    assert thaw(client, "box")["errno"] == ESTALE
    with open(path, "r+b") as f:
        f.write(bytes(7))
    assert runs(client, done(thaw(client, "box")))


def test_restart(server):
    "a file outlives its vmctl; one that was not finished, or is of no use, does not"
    client = server.client()
    done(freeze(client, boot(client), "box"))
    parent = boot(client)
    done(client.request("park", vm=parent["vm"]))
    done(client.request("save", vm=parent["vm"], image="needless"))
    open(os.path.join(server.state, "half.new"), "w").close()
    server.process.kill()
    server.process.wait()
    client = server.again()
    assert server.files() == ["box.vm"]
    assert runs(client, done(thaw(client, "box")))


def test_full(server):
    "a full disk leaves the VM running, and no file"
    if os.getuid():
        return
    client = server.client()
    vm = boot(client)
    tmpfs = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", server.state]
    subprocess.run(tmpfs, check=True)
    try:
        reply = freeze(client, vm, "box")
        assert reply.get("errno") == ENOSPC, reply
        assert server.files() == [] and runs(client, vm)
    finally:
        subprocess.run(["umount", server.state], check=True)
    done(freeze(client, vm, "box"))


def freeze_one(client):
    done(freeze(client, boot(client), "box"))
    wait(lambda: client.request("list")["vms"] == [])


def spoiled(server, client, spoil):
    """A copy of the file that is spoiled is refused, with a sentence, or right."""
    shutil.copy(server.file("box"), server.file("bad"))
    with open(server.file("bad"), "r+b") as f:
        what = spoil(f, os.path.getsize(server.file("bad")))
    reply = thaw(client, "bad")
    if "error" in reply:
        assert reply["errno"] in (EBADMSG, ENOTSUP), (what, reply)
        assert client.request("list")["vms"] == [], what
        return True
    assert runs(client, reply), what
    for vm in client.request("list")["vms"]:
        done(client.request("destroy", vm=vm["vm"]))
    return False


def test_cut(server):
    "a file cut at random places is refused"
    client = server.client()
    freeze_one(client)
    random.seed(5)
    for _ in range(ROUNDS):
        def cut(f, size):
            length = random.choice((random.randrange(size), random.randrange(20000)))
            f.truncate(length)
            return length
        assert spoiled(server, client, cut), "resumed from a part"


def test_flip(server):
    "a file with a flipped bit is refused, or the bit means nothing"
    client = server.client()
    freeze_one(client)
    random.seed(6)
    refused = 0
    for _ in range(ROUNDS):
        def flip(f, size):
            at = random.choice((random.randrange(size), random.randrange(20000)))
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ 1 << random.randrange(8)]))
            return at
        refused += spoiled(server, client, flip)
    assert refused > ROUNDS / 2, refused


if os.access("/dev/kvm", os.R_OK | os.W_OK):
    main(globals(), FreezeServer)
else:
    print("1..0 # SKIP no /dev/kvm")
