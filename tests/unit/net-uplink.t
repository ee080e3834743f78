#!/usr/bin/python3
"""The uplink is looked after: by whom it is taken away, and who dies, it comes again or ends."""
import ctypes
import os
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import net_kit  # noqa: E402
from net_kit import Host, Net, Tap, begin, sh  # noqa: E402

PATIENCE = 30
begin()
tap = Tap()
work = tempfile.mkdtemp()


def until(true):
    deadline = time.monotonic() + PATIENCE
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


def table(name):
    return sh("nft", "list", "table", "inet", name, check=False).stdout


def links():
    return [line.split(":")[1].split("@")[0].strip()
            for line in sh("ip", "-o", "link").stdout.splitlines() if " pffs" in line]


def ends(net):
    """Does it end, and its socket with it? Who held that would keep the broker waiting."""
    net.sock.settimeout(PATIENCE)
    try:
        while net.sock.recv(1 << 21):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        pass
    net.process.wait(PATIENCE)
    return True


def pasta(name, text):
    """What is found as pasta on the way."""
    path = os.path.join(work, name)
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, "pasta"), "w", encoding="ascii") as file:
        file.write(text)
    os.chmod(file.name, 0o755)
    return f"{path}:{PATH}"


def number_in(name):
    path = os.path.join(work, name)
    if not until(lambda: os.path.exists(path) and os.path.getsize(path)):
        return 0
    with open(path, encoding="ascii") as file:
        return int(file.read())


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def delete_once(name):
    """A process that takes the table away as soon as it is there, as who cleans up after a former
    one may. Returns its pid; it ends with 0 when it has."""
    nft = ctypes.CDLL("libnftables.so.1")
    nft.nft_ctx_new.restype = ctypes.c_void_p
    pid = os.fork()
    if pid == 0:
        context = ctypes.c_void_p(nft.nft_ctx_new(0))
        nft.nft_ctx_buffer_error(context)
        deadline = time.monotonic() + PATIENCE
        while nft.nft_run_cmd_from_buffer(context, f"delete table inet {name}".encode()):
            if time.monotonic() > deadline:
                os._exit(1)
        os._exit(0)
    return pid


web = Host("web", 1, ["1.2.3.4", "2606:4700::4"])
web.serve(80)
net = Net("--uplink", "kernel")
guest = net.guest(1)
tap.is_(guest.get("1.2.3.4", 80), "web", "there is a way out")
name = net.uplink["link"].split("/")[0]
tap.ok(0 not in net.users(), "vmctl net, which root has started, is not root to the host any more")
before = table(name)
sh("nft", "flush", "ruleset")
tap.ok(until(lambda: table(name) == before), "a firewall is loaded anew: the uplink's rules come again")
tap.is_(guest.get("1.2.3.4", 80), "web", "and there is a way out")
sh("nft", "flush", "table", "inet", name)
tap.ok(until(lambda: table(name) == before), "also when the table is there, and empty")

number = int(net.uplink["link"].split("/")[1])
sh(net_kit.PROGRAM, "--clean", f"{name}/{number + 1000}")
tap.is_(links(), [name], "to clean up after another one, by the same name, leaves the link")
tap.is_(table(name), before, "and its rules")
net.close()
tap.ok(until(lambda: name not in links()), "with its end the link goes")
sh(net_kit.PROGRAM, "--clean", f"{name}/{number}")
tap.is_(table(name), "", "and, cleaned up, its rules")

deleter = delete_once(name)
net = Net("--uplink", "kernel")
guest = net.guest(1)
tap.is_(os.waitstatus_to_exitcode(os.waitpid(deleter, 0)[1]), 0, "rules that are just set are taken away")
tap.is_((net.uplink["uplink"], guest.get("1.2.3.4", 80)), ("kernel", "web"), "there is an uplink all the same")
tap.ok(until(lambda: table(name) == before), "with its rules")
net.close()
tap.ok(until(lambda: name not in links()), "which ends as any other")

PATH = os.environ["PATH"]
os.environ["PATH"] = pasta("slow", f"#!/bin/sh\necho $$ >{work}/slow.pid\nexec sleep 1000\n")
net = Net("--uplink", "user")
slow = number_in("slow.pid")
net.process.send_signal(signal.SIGKILL)
tap.ok(ends(net), "killed while it starts: nobody keeps the broker's socket")
tap.ok(until(lambda: gone(slow)), "and what was to be the uplink is ended")

# As pasta does that root starts: it becomes another user, and so forgets its parent. As newer
# ones do, it ends with the process whose network it was told to serve, unless it is told not to.
os.environ["PATH"] = pasta("other", f"""#!/usr/bin/python3
import os, subprocess, sys, time
pid = sys.argv[-1]
subprocess.run(["nsenter", f"--user=/proc/{{pid}}/ns/user", f"--net=/proc/{{pid}}/ns/net",
                "ip", "link", "add", "name", "up", "type", "veth", "peer", "name", "pasta0"], check=True)
me = os.getpid()
with open("{work}/other.pid", "w") as file:
    file.write(str(me))
os.setresuid(65534, 65534, 65534)
while "--no-netns-quit" in sys.argv or os.path.exists(f"/proc/{{pid}}"):
    time.sleep(0.05)
""")
for victim in ("vmctl net", "pasta"):
    if os.path.exists(os.path.join(work, "other.pid")):
        os.unlink(os.path.join(work, "other.pid"))
    net = Net("--uplink", "user")
    net.policy(1)
    other = number_in("other.pid")
    time.sleep(0.5)
    tap.ok(other and not gone(other), "pasta runs, also when who held the network before has ended")
    os.kill(net.process.pid if victim == "vmctl net" else other, signal.SIGKILL)
    tap.ok(ends(net), f"{victim} is killed: all ends")
    tap.ok(until(lambda pid=other: gone(pid)), "pasta, too")
    net.close()
os.environ["PATH"] = PATH

for helper in ("dns", "proxy"):
    net = Net("--uplink", "none")
    net.policy(1)
    children = sh("ps", "-o", "pid=,args=", "--ppid", str(net.process.pid)).stdout.splitlines()
    pid = next(int(line.split()[0]) for line in children if f"vmctl-names {helper}" in line)
    os.kill(pid, signal.SIGKILL)
    tap.ok(ends(net), f"{helper} is killed: all ends, so that the broker starts all anew")
    net.close()
shutil.rmtree(work)
tap.done()
