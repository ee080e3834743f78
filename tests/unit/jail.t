#!/usr/bin/python3
"""The jail of real VM processes, looked at from outside by root."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from broker_kit import VMCTL, Server, main, skip  # noqa: E402
import calls_kit  # noqa: E402
from freeze_kit import FreezeServer, boot, done, freeze, thaw, wait  # noqa: E402
from tiny_kernel import device_kernel, write_images  # noqa: E402

FIRST_USER = 0x70000000
NAMESPACES = ("user", "mnt", "pid", "net", "ipc", "uts")
DESCRIPTORS = ("/dev/null", "/dev/kvm", "socket:", "anon_inode:")
# What other hosts need, or guests with an agent, and a guest of a page of code does not.
ELSEWHERE = {
    "clock_gettime": "where the vDSO cannot read the clock, as in the emulated host",
    "ioctl(1==KVM_GET_XSAVE)": "a KVM before XSAVE2",
    "ioctl(1==KVM_GET_FPU)": "a processor without XSAVE",
    "ioctl(1==KVM_SET_FPU)": "likewise",
    "ioctl(1==KVM_SET_TSC_KHZ)": "a frozen machine of another processor",
    "sendmsg": "the agent's port",
    "recvmsg": "likewise",
    "read": "frames that wait when a driver gives room for them",
    "write": "a guest that shuts down",
    "rt_sigprocmask": "the end of its vCPU's thread",
    "madvise": "free page reporting",
    "ioctl(1==FIONREAD)": "a broker that is killed while it writes to the agent's port",
    "mremap": "a log of 64 KiB",
    "close": "a layer of a disk that holds nothing any more",
    "exit": "a guest that ends while its process does not yet",
    "brk": "a reason that is looked for in the log",
    "mmap(2==PROT_READ|PROT_WRITE)": "free page reporting of who was frozen",
}


def status(pid, thread=None):
    path = f"/proc/{pid}/task/{thread}/status" if thread else f"/proc/{pid}/status"
    with open(path) as f:
        return {key: value.strip() for key, value in (line.split(":", 1) for line in f)}


def vcpus(pid):
    """The threads of its vCPUs."""
    found = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        if status(pid, thread)["Name"].startswith("vcpu"):
            found.append(thread)
    return found


def family(client):
    """A VM, a fork of it, a fork of another one, and one that was frozen."""
    first = boot(client)
    second, sibling = done(client.request("fork", vm=first["vm"], names=["a", "b"]))["vms"]
    third = done(client.request("fork", vm=second["vm"], names=["third"]))["vms"][0]
    done(freeze(client, second, "box"))
    return [first, sibling, third, done(thaw(client, "box"))]


def inside(pid, *command):
    """What a program of ours sees in the namespaces of a process."""
    return subprocess.run(
        ["nsenter", f"--target={pid}", "--net", "--ipc", "--uts", *command], check=True,
        stdout=subprocess.PIPE, universal_newlines=True).stdout


def test_powerless(server):
    "a VM's process is nobody, may become nobody else, and has its filters once"
    for vm in family(server.client()):
        now = status(vm["pid"])
        assert {int(user) >= FIRST_USER for user in now["Uid"].split()} == {True}, now["Uid"]
        assert {int(group) for group in now["Gid"].split()} == {FIRST_USER}, now["Gid"]
        assert now["Groups"] == "" and now["NoNewPrivs"] == "1", now
        for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb"):
            assert int(now["Cap" + kind], 16) == 0, (kind, now)
        assert (now["Seccomp"], now["Seccomp_filters"]) == ("2", "1"), now
        wait(lambda pid=vm["pid"]: {status(pid, t)["Seccomp_filters"] for t in vcpus(pid)} == {"2"})


def test_alone(server):
    "it sees no file, process or network of the host"
    vms = family(server.client())
    for vm in vms:
        pid = vm["pid"]
        for kind in NAMESPACES:
            ours, its = (os.readlink(f"/proc/{p}/ns/{kind}") for p in ("self", pid))
            assert ours != its, (kind, its)
        assert os.listdir(f"/proc/{pid}/root") == [], "its root directory is empty"
        with open(f"/proc/{pid}/mountinfo") as f:
            mounts = f.read().splitlines()
        assert len(mounts) == 1 and "nosuid,nodev,noexec" in mounts[0], mounts
        links = inside(pid, "cat", "/proc/self/net/dev").splitlines()[2:]
        assert [link.split(":")[0].strip() for link in links] == ["lo"], links
        assert inside(pid, "cat", "/proc/self/net/unix").count("\n") == 1
        assert int(status(pid)["NSpid"].split()[1]) < 100, "where there are few others"
    assert len({os.readlink(f"/proc/{vm['pid']}/ns/pid") for vm in vms}) == 2, (
        "the one that was frozen is a family of its own")
    assert len({status(vm["pid"])["Uid"] for vm in vms}) == 2


def test_descriptors(server):
    "it has its own descriptors, those of its disks, and no others"
    for vm in family(server.client()):
        for fd in os.listdir(f"/proc/{vm['pid']}/fd"):
            path = os.readlink(f"/proc/{vm['pid']}/fd/{fd}")
            if fd in "012":
                continue
            assert (path.startswith(DESCRIPTORS) or path.startswith(server.images)
                    or path.startswith(server.state) or "/#" in path), (fd, path)


def test_processes(server):
    "its family has at most half of the processes that the machine can have"
    can = []
    for name in ("pid_max", "threads-max"):
        with open(f"/proc/sys/kernel/{name}") as f:
            can.append(int(f.read()))
    for vm in family(server.client()):
        with open(f"/proc/{vm['pid']}/limits") as f:
            most = next(line for line in f if line.startswith("Max processes"))
        assert int(most.split()[3]) <= min(can) // 2, most


def test_ends_alone(server):
    "one that a filter kills says so, and nobody else ends"
    client = server.client()
    first, sibling, third, back = family(client)
    client.request("kill", vm=first["vm"], signal=31)
    reason = client.wait_event("dead", first["vm"])["reason"]
    assert "killed by signal 31 (Bad system call)" in reason, reason
    for vm in (sibling, third, back):
        assert "error" not in client.request("log", vm=vm["vm"])
    client.request("kill", vm=third["vm"], signal=9)
    assert "signal 9" in client.wait_event("dead", third["vm"])["reason"], (
        "how a fork ended is known when its parent is gone")


def test_family_ends(server):
    "init ends with the last VM of its family"
    client = server.client()
    before = inits(server)
    vms = family(client)
    assert len(inits(server)) == len(before) + 2
    for vm in vms[1:]:
        assert "error" not in client.request("destroy", vm=vm["vm"])
    wait(lambda: not children(vms[0]["pid"]))
    assert "error" not in client.request("destroy", vm=vms[0]["vm"])
    wait(lambda: inits(server) == before)


def children(pid):
    """Also those that it has yet to wait for."""
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return f.read().split()


def inits(server):
    """Those of this broker."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as f:
                if f.read().startswith("vmctl\0init\0") and status(pid)["PPid"] == str(server.process.pid):
                    found.add(pid)
        except (OSError, UnicodeDecodeError):
            continue
    return found


def test_no_entry_unused(server):
    "each call that a filter allows is made"
    global VMCTL
    with tempfile.TemporaryDirectory() as folder:
        traced = calls_kit.wrap(folder, VMCTL)
        # who is traced cannot look for leaks
        environment = {**os.environ, "VMCTL": traced, "ASAN_OPTIONS": "detect_leaks=0"}
        for test in ("vm-tap.t",), ("vm-freeze.t", "test_freeze"), (
                "jail.t", "test_devices", "test_family_ends"):
            subprocess.run([os.path.join(HERE, test[0]), *test[1:]], env=environment, check=True,
                           stdout=subprocess.DEVNULL, timeout=120)
        wait(lambda: not calls_kit.is_traced(traced))
        left = calls_kit.unused(traced)
    left = [each for each in left if each[0] != "sanitizer" and each[1] not in ELSEWHERE]
    assert not left, left


def test_devices(server):
    "a guest uses its disk and its source of entropy"
    write_images(server.images, device_kernel())
    client = server.client()
    vm = boot(client)
    assert "error" not in client.request("stat", vm=vm["vm"])


if not os.access("/dev/kvm", os.R_OK | os.W_OK) or os.geteuid() != 0:
    sys.exit(skip("no /dev/kvm, or not root"))
main(globals(), FreezeServer)
