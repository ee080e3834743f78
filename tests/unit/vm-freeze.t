#!/usr/bin/python3
"""Real VM processes are frozen to files and resumed; a file that was damaged is the
business of tests/faults/frozen.t.
"""
import fcntl
import os
import subprocess
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from broker_kit import VMCTL, gone, limit  # noqa: E402
from freeze_kit import (EBADMSG, EBUSY, EEXIST, EFBIG, EINVAL, ENOENT, ENOSPC, ESTALE,  # noqa: E402
                        MEMORY_MIB, boot, done, freeze, run, runs, thaw, wait)


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


def test_group(server):
    "a file says of which group its machine was"
    client = server.client()
    mine = client.create("mine", memory_mib=MEMORY_MIB, group="us")
    wait(lambda: client.request("log", vm=mine["vm"])["log"])
    done(freeze(client, mine, "ours"))
    done(freeze(client, boot(client), "other"))
    assert client.request("images", group="us")["images"] == ["ours"]
    assert client.request("images", group="them")["images"] == []
    assert client.request("images", group="us")["group"] == "us"
    done(client.request("thaw", image="ours", name="back", group="them"))
    assert client.request("images", group="us")["images"] == ["ours"]
    assert sorted(client.request("images")["images"]) == ["other", "ours"]


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
    for vm in client.request("list")["vms"]:  # one that was frozen may just be ending
        assert client.request("destroy", vm=vm["vm"]).get("errno", ENOENT) == ENOENT
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


def limits_of(vm):
    """Hard limits of its process, by their names in /proc."""
    with open(f"/proc/{vm['pid']}/limits") as f:
        lines = [line for line in f.read().splitlines() if line.startswith("Max ")]
    limits = {line[:26].strip(): line[26:].split()[1] for line in lines}
    return {name: float("inf") if value == "unlimited" else int(value)
            for name, value in limits.items()}


def sanitized():
    """It maps terabytes, and nothing bounds that."""
    with open(VMCTL, "rb") as f:
        return b"__asan_init" in f.read()


def test_rlimits(server):
    "the process of a VM is limited by the size of the machine, as are forks and who resumes"
    client = server.client()
    parent = boot(client)
    memory, disk = MEMORY_MIB << 20, 4 << 30  # the latter where nothing is said
    limits = limits_of(parent)
    assert limits["Max core file size"] == 0, limits
    assert limits["Max open files"] <= 512, limits
    assert memory < limits["Max file size"] < (memory + disk) * 2, limits
    if not sanitized():
        assert memory * 2 < limits["Max data size"] < memory * 2 + (512 << 20), limits
    child = done(client.request("fork", vm=parent["vm"], names=["child"]))["vms"][0]
    assert limits_of(child) == limits, limits_of(child)
    done(freeze(client, child, "box"))
    back = done(thaw(client, "box"))
    assert limits_of(back) == limits, limits_of(back)
    assert runs(client, back)
    most = limit(back["pid"], "fsize", 4096)
    reply = freeze(client, back, "large")
    assert reply.get("errno") == EFBIG, reply
    limit(back["pid"], "fsize", most)
    assert runs(client, back), "who may not write so much goes on"


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


def test_succession(server):
    "who waits for a vmctl to end can freeze then, and keeps its socket"
    server.client().request("list")  # it has begun
    for _ in range(5):
        former = server.process
        former.terminate()
        client = server.again(former)
        assert client.request("drop", image="none")["errno"] == ENOENT
    server.process.kill()
    server.process.wait()
    with open(os.path.join(server.state, "lock"), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        threading.Timer(0.5, fcntl.flock, (lock.fileno(), fcntl.LOCK_UN)).start()
        client = server.again()
        assert client.request("drop", image="none")["errno"] == ENOENT


def test_refused_then_killed(server):
    "a freeze that was refused is forgotten: the next vmctl leaves the file of that name alone"
    client = server.client()
    done(freeze(client, boot(client), "box"))
    vm = boot(client)
    open(os.path.join(server.state, "half.new"), "w").close()
    assert freeze(client, vm, "half")["errno"] == EBUSY
    assert freeze(client, vm, "box")["errno"] == EEXIST
    server.process.kill()
    server.process.wait()
    client = server.again()
    assert server.files() == ["box.vm"]
    assert runs(client, done(thaw(client, "box")))
    client.request("attach", vm=vm["vm"])
    assert runs(client, vm)


def unmounted(path):
    """It cannot be while the process that wrote there is ending."""
    return subprocess.run(["umount", path], stderr=subprocess.DEVNULL, check=False).returncode == 0


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
        wait(unmounted, server.state)
    done(freeze(client, vm, "box"))


run(globals())
