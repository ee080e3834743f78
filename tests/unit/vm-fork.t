#!/usr/bin/python3
"""Real VM processes fork, on this machine's KVM, with a guest of a page of code.

A software KVM will do, so that this runs at full speed where tests/vm/fork.t has an
emulated host. PFFS_LONG=1 makes and ends a thousand forks.
"""
import os
import resource
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from broker_kit import PATIENCE, VMCTL, Server, gone, limit, main  # noqa: E402
from tiny_kernel import GREETING, make_images  # noqa: E402

MEMORY_MIB = 128
KIB = 1024
with open(VMCTL, "rb") as program:
    SANITIZED = b"__asan_init" in program.read()  # then memory is not what it seems
MANY = 1000 if os.environ.get("PFFS_LONG") else 100


class KvmServer(Server):
    """A broker whose VMs are real."""

    def start(self, directory, images):
        make_images(images, MEMORY_MIB)
        return subprocess.Popen([VMCTL, "serve", "--engine", "kvm", "--socket", self.path,
                                 "--images", images])

    def processes(self):
        """The VM processes there are, of whatever generation."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as f:
                    fields = f.read().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] != "Z":  # its parent waits for it late
                found.append((int(pid), int(fields[1])))
        family = {self.process.pid}
        for _ in found:
            more = {pid for pid, parent in found if parent in family} - family
            if not more:
                break
            family |= more
        return family - {self.process.pid}


def wait(what, *args):
    deadline = time.monotonic() + PATIENCE
    while not what(*args):
        assert time.monotonic() < deadline, (what, args)
        time.sleep(0.02)


def log(client, vm):
    return client.request("log", vm=vm)["log"]


def boot(client, vcpus=1):
    made = client.create("parent", memory_mib=MEMORY_MIB, vcpus=vcpus)
    assert "error" not in made, made
    wait(lambda: GREETING in log(client, made["vm"]))
    return made


def fork(client, vm, *names):
    return client.request("fork", vm=vm, names=list(names))


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def destroy(client, vms):
    for vm in vms:
        assert "error" not in client.request("destroy", vm=vm["vm"])
    assert all(gone(vm["pid"]) for vm in vms)


def test_fork(server):
    "a fork goes on where its parent was, and so does a fork of it"
    client = server.client()
    vm = boot(client)
    for generation in range(5):
        reply = fork(client, vm["vm"], f"generation{generation}")
        assert "error" not in reply, reply
        vm = reply["vms"][0]
        assert GREETING in log(client, vm["vm"])
        with open(f"/proc/{vm['pid']}/comm") as f:
            assert f.read() == f"generation{generation}\n"


def test_bulk(server):
    "a hundred forks at once; they leave nothing"
    client = server.client()
    parent = boot(client, vcpus=2)
    fds, processes = (server.fds(), open_files(parent["pid"])), server.processes()
    reply = fork(client, parent["vm"], *(f"child{n}" for n in range(100)))
    assert "error" not in reply, reply
    children = reply["vms"]
    assert len({child["pid"] for child in children}) == 100
    most = max(open_files(child["pid"]) for child in children)
    assert most <= open_files(parent["pid"]), "a child holds descriptors of another one"
    for child in (children[0], children[50], children[99]):
        assert GREETING in log(client, child["vm"])
        assert client.request("stat", vm=child["vm"])["memory_private"] < 4 << 20
    grandchildren = fork(client, children[50]["vm"], "a", "b", "c")["vms"]
    assert len(server.processes()) == len(processes) + 103
    destroy(client, children + grandchildren)
    wait(lambda: (server.fds(), open_files(parent["pid"])) == fds)
    wait(lambda: server.processes() == processes)


def test_batches(server):
    "more forks than one message takes; the parent stands still once"
    client = server.client()
    parent = boot(client)
    reply = fork(client, parent["vm"], *(f"child{n}" for n in range(300)))
    assert "error" not in reply, reply
    assert len({child["pid"] for child in reply["vms"]}) == 300
    for child in reply["vms"][::50]:
        assert GREETING in log(client, child["vm"])
    assert "error" not in fork(client, parent["vm"], "after")


def test_many(server):
    "forks without end, one after the other, leave nothing"
    client = server.client()
    parent = boot(client)
    destroy(client, fork(client, parent["vm"], "first")["vms"])
    fds, processes = (server.fds(), open_files(parent["pid"])), server.processes()
    before = client.request("stat", vm=parent["vm"])["memory_private"]
    for number in range(MANY):
        reply = fork(client, parent["vm"], f"child{number}")
        assert "error" not in reply, reply
        destroy(client, reply["vms"])
    wait(lambda: (server.fds(), open_files(parent["pid"])) == fds)
    wait(lambda: server.processes() == processes)
    after = client.request("stat", vm=parent["vm"])["memory_private"]
    assert SANITIZED or after < before + (2 << 20), (before, after)


def zombies(parent):
    """How many processes that have ended wait for it to wait for them."""
    count = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                state, of = f.read().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        count += state == "Z" and int(of) == parent
    return count


def test_ends(server):
    "forks that end one soon after the other are waited for, too: what is left of one counts as a process"
    client = server.client()
    parent = boot(client)
    children = fork(client, parent["vm"], *(f"child{n}" for n in range(30)))["vms"]
    for ended, child in enumerate(children, 1):
        destroy(client, [child])
        if zombies(parent["pid"]) < ended:
            return
        time.sleep(0.5)
    assert not "any of them was waited for"


def test_parked(server):
    "a parked parent can be forked and stays parked"
    client = server.client()
    parent = boot(client)["vm"]
    assert "error" not in client.request("park", vm=parent)
    for count in (1, 3, 2):
        reply = fork(client, parent, *["child"] * count)
        assert len(reply["vms"]) == count, reply
        assert "error" not in fork(client, reply["vms"][0]["vm"], "grandchild")
    assert "error" not in client.request("resume", vm=parent)
    assert "error" not in fork(client, parent, "child")


def kvm_files(pid):
    links = (os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
    return sorted(link for link in links if "kvm-v" in link)


def test_twin(server):
    "one more child stands still from the start, and runs when it is told to"
    client = server.client()
    parent = boot(client, vcpus=2)
    reply = client.request("fork", vm=parent["vm"], names=["a", "b"], twin="point")
    assert "error" not in reply and len(reply["vms"]) == 2, reply
    twin = reply["twin"]
    assert [vm["name"] for vm in client.request("list")["vms"]] == ["parent", "a", "b", "point"]
    assert kvm_files(parent["pid"]) and kvm_files(reply["vms"][1]["pid"])
    assert not kvm_files(twin["pid"]), "it has no machine yet"
    assert len(os.listdir(f"/proc/{twin['pid']}/task")) == 1, "nor vCPUs"
    assert GREETING in log(client, twin["vm"])
    assert client.request("stat", vm=twin["vm"])["memory_private"] < 4 << 20
    assert fork(client, twin["vm"], "no")["errno"] == 16, "it cannot be forked: EBUSY"
    assert "error" not in client.request("park", vm=twin["vm"])
    for _ in range(2):
        assert "error" not in client.request("resume", vm=twin["vm"])
        assert len(kvm_files(twin["pid"])) == len(kvm_files(parent["pid"]))
        assert "error" not in client.request("park", vm=twin["vm"])
    destroy(client, [parent] + reply["vms"])
    assert "error" not in fork(client, twin["vm"], "child"), "it lives when all others have gone"
    alone = client.request("fork", vm=twin["vm"], names=["c"] * 126, twin="last")
    assert len(alone["vms"]) == 126, alone
    destroy(client, [alone["twin"], twin] + alone["vms"])


def refused(server, client, parent, count, sentence):
    """The fork fails for lack of something, and leaves nothing half made."""
    fds, processes = (server.fds(), open_files(parent["pid"])), server.processes()
    reply = fork(client, parent["vm"], *["child"] * count)
    assert reply.get("errno") == 12 and sentence in reply["error"], reply
    assert [vm["vm"] for vm in client.request("list")["vms"]] == [parent["vm"]]
    wait(lambda: server.processes() == processes)
    wait(lambda: (server.fds(), open_files(parent["pid"])) == fds)


def test_no_descriptors(server):
    "a parent without room for descriptors makes no fork, and goes on"
    client = server.client()
    parent = boot(client)
    was = limit(parent["pid"], "nofile", open_files(parent["pid"]) + 1)
    for room, count in ((1, 1), (9, 5), (30, 126), (30, 200)):
        limit(parent["pid"], "nofile", open_files(parent["pid"]) + room)
        refused(server, client, parent, count, "descriptors")
    limit(parent["pid"], "nofile", was)
    assert len(fork(client, parent["vm"], *["child"] * 200)["vms"]) == 200


def test_no_memory(server):
    "forks without memory for a VM of KVM are not made, and their parent goes on"
    client = server.client()
    parent = boot(client)
    if SANITIZED:
        return  # its shadow memory alone is terabytes
    with open(f"/proc/{parent['pid']}/statm") as f:
        size = int(f.read().split()[0]) * resource.getpagesize()
    for room in (32 * KIB, 128 * KIB):
        limit(parent["pid"], "as", size - room)
        refused(server, client, parent, 1, "the fork child did not live")
        refused(server, client, parent, 5, "the fork child did not live")
    limit(parent["pid"], "as", "unlimited")
    assert len(fork(client, parent["vm"], *["child"] * 5)["vms"]) == 5


if os.access("/dev/kvm", os.R_OK | os.W_OK):
    main(globals(), KvmServer)
else:
    print("1..0 # SKIP no /dev/kvm")
