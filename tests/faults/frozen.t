#!/usr/bin/python3
"""The file of a frozen machine, and the memory that it was compared with, when they are
not what was written: cut, and with a flipped bit, at 200 random places each. What is
resumed is right; all else is refused with a sentence, and there is no half of a machine.
What pffs keeps beside them has the same in tests/unit/record.t.c.
"""
import os
import random
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../unit"))
from freeze_kit import EBADMSG, ENOSPC, ENOTSUP, boot, done, freeze, run, runs, thaw, wait  # noqa: E402

ROUNDS = 200
STEP = 16 << 10  # bytes that a disk has more, from one try to the next


def freeze_one(client):
    done(freeze(client, boot(client), "box"))
    wait(lambda: client.request("list")["vms"] == [])


def freeze_with_base(client):
    """Then the machine's file alone is not enough."""
    parent = boot(client)
    done(client.request("park", vm=parent["vm"]))
    done(client.request("save", vm=parent["vm"], image="base"))
    child = client.request("fork", vm=parent["vm"], names=["child"])["vms"][0]
    done(freeze(client, child, "box", base="base"))
    done(client.request("destroy", vm=parent["vm"]))
    wait(lambda: client.request("list")["vms"] == [])


def cut(file, size):
    length = random.choice((random.randrange(size), random.randrange(min(size, 20000))))
    file.truncate(length)
    return length


def flip(file, size):
    at = random.choice((random.randrange(size), random.randrange(min(size, 20000))))
    file.seek(at)
    byte = file.read(1)[0]
    file.seek(at)
    file.write(bytes([byte ^ 1 << random.randrange(8)]))
    return at


def is_refused(server, client, name, spoil):
    """The file @name is spoiled for a moment. What is not refused is right."""
    good, path = server.file(name) + ".good", server.file(name)
    os.rename(path, good)
    shutil.copy(good, path)
    with open(path, "r+b") as file:
        what = spoil(file, os.path.getsize(path))
    reply = thaw(client, "box")
    if "error" in reply:
        assert reply["errno"] in (EBADMSG, ENOTSUP) and len(reply["error"]) > 10, (what, reply)
        assert client.request("list")["vms"] == [], what
    else:
        assert runs(client, reply), what
        for vm in client.request("list")["vms"]:
            done(client.request("destroy", vm=vm["vm"]))
    os.rename(good, path)
    return "error" in reply


def count_refused(server, client, name, spoil):
    random.seed(5)
    return sum(is_refused(server, client, name, spoil) for _ in range(ROUNDS))


def all_cuts(server, freeze, name):
    client = server.client()
    freeze(client)
    assert count_refused(server, client, name, cut) == ROUNDS, "resumed from a part"
    assert runs(client, done(thaw(client, "box"))), "and whole it is right"


def all_flips(server, freeze, name):
    client = server.client()
    freeze(client)
    refused = count_refused(server, client, name, flip)
    assert refused > ROUNDS / 2, refused


def test_cut(server):
    "a file cut at 200 random places is refused"
    all_cuts(server, freeze_one, "box")


def test_flip(server):
    "a file with a flipped bit is refused, or the bit means nothing"
    all_flips(server, freeze_one, "box")


def test_base_cut(server):
    "so is a machine whose base was cut"
    all_cuts(server, freeze_with_base, "base")


def test_base_flip(server):
    "or has a flipped bit"
    all_flips(server, freeze_with_base, "base")


def free_of(directory):
    stat = os.statvfs(directory)
    return stat.f_blocks * stat.f_frsize


def test_full(server):
    "a disk that is full at any of the writes leaves the VM running, and no file"
    if os.getuid():
        return
    client = server.client()
    vm = boot(client)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", server.state], check=True)
    try:
        refused = 0
        while True:
            reply = freeze(client, vm, "box")
            if "error" not in reply:
                break
            assert reply["errno"] == ENOSPC and len(reply["error"]) > 10, reply
            assert server.files() == [], server.files()
            assert runs(client, vm)
            refused += 1
            size = free_of(server.state) + STEP
            subprocess.run(["mount", "-o", f"remount,size={size}", server.state], check=True)
        assert refused > 10, refused
        assert runs(client, done(thaw(client, "box")))
    finally:
        subprocess.run(["umount", "-l", server.state], check=True)


run(globals())
