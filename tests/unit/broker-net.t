#!/usr/bin/python3
"""The broker connects VMs, with fake-vm as VM process; all that is killed comes again."""
import atexit
import json
import os
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import net_kit  # noqa: E402
from broker_kit import CONTROL, Server  # noqa: E402
from net_kit import Tap, begin  # noqa: E402

PATIENCE = 60
begin()
tap = Tap()
POLICY = {"egress": "on", "allow": [], "secrets": []}


def net_process():
    """The one of our namespace's children; it is told by its program."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
            with open(f"/proc/{pid}/environ", "rb") as file:
                ours = b"NET_TEST=" + work.encode() in file.read()
            with open(f"/proc/{pid}/comm", "rb") as file:
                ours = ours and file.read() == b"vmctl-net\n"
        except OSError:
            continue
        # another one takes away what one that was killed has left, and ends
        if ours and words[0] == b"vmctl-net" and b"--clean" not in words:
            return int(pid)
    return None


def connected(client, vm):
    return next(each["connected"] for each in client.request("list")["vms"] if each["vm"] == vm)


def wait(client, vm, want=True):
    until = time.monotonic() + PATIENCE
    while connected(client, vm) != want and time.monotonic() < until:
        time.sleep(0.05)
    return connected(client, vm) == want


def in_use(client, want):
    """Do so many slots come to be taken, and is that seen in the descriptors of the process?"""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        stat = client.request("stat")
        if stat["slots"] - stat["slots_free"] == want and stat["net_descriptors"] > stat["slots"]:
            return True
        time.sleep(0.05)
    return False


work = tempfile.mkdtemp()
os.environ["NET_TEST"] = work
# A process that has ended is waited for longer each time.
server = Server(work, ["--uplink", "kernel", "--deadline-ms", "30000"])
atexit.register(lambda: server.end())
client = server.client()
tap.is_(client.request("stat")["uplink"], "none", "before anybody asks there is no uplink")
tap.is_(net_process(), None, "and no process for it")
tap.is_(client.request("stat")["slots"], 0, "nor slots")
parent = client.create()["vm"]
tap.ok("error" not in client.request("network", closed=["192.0.2.1"]), "a client asks for it")
client.request("park", vm=parent)
tap.ok("error" not in client.request("policy", vm=parent, policy=POLICY), "a policy is in force")
tap.ok("error" in client.request("policy", vm=parent, policy={"egress": "what"}),
       "one that is none is refused")
stat = client.request("stat")
tap.is_(stat["uplink"], "kernel", "there is an uplink")
tap.ok(any(each["event"] == "uplink" and each["uplink"] == "kernel" for each in client.events),
       "of which every client hears")
tap.ok(not connected(client, parent), "a VM that stands still is not connected")
fork = client.request("fork", vm=parent, names=["a", "b"], twin="t")
children = [each["vm"] for each in fork["vms"]]
tap.ok(all(wait(client, vm) for vm in children), "its forks are, with its policy")
tap.ok(client.wait_event("net", children[0])["connected"], "and their client hears of it")
tap.ok(not connected(client, fork["twin"]["vm"]), "not a twin, which stands still")
client.request("resume", vm=fork["twin"]["vm"])
tap.ok(wait(client, fork["twin"]["vm"]), "until it is told to resume")
tap.ok(in_use(client, 3), "so many slots are taken, as `stat` says")



def taps():
    """For each VM that had an order: how many taps came along, order by order."""
    orders = []
    for name in sorted(os.listdir(work)):
        if name.startswith("taps-"):
            with open(os.path.join(work, name), encoding="ascii") as file:
                orders.append(file.read().split())
    return orders


def has_lost_one(order):
    return order.count("0") == 1


def is_back(order):
    """It got one after it had lost one; who asks for its tap twice gets it twice."""
    return "0" in order and "1" in order[order.index("0"):]


pid = net_process()
client = server.restart()
tap.ok(all(wait(client, vm) for vm in children), "a broker that was killed: they are connected")
tap.is_(net_process(), pid, "by the same process")
tap.ok(in_use(client, 3), "whose slots the new broker knows")
tap.is_(client.request("stat")["uplink"], "kernel", "the uplink is known")
os.kill(pid, signal.SIGKILL)
until = time.monotonic() + PATIENCE
# What it starts has its name for a moment, so it may be gone at the next look.
while (other := net_process()) in (pid, None) and time.monotonic() < until:
    time.sleep(0.05)
tap.ok(other not in (pid, None), "the process was killed: there is another one")
for vm in children:
    client.request("attach", vm=vm)
    client.request("policy", vm=vm, policy=POLICY)
tap.ok(all(wait(client, vm) for vm in children), "which connects who has a policy")
until = time.monotonic() + PATIENCE
while not all(has_lost_one(each) for each in taps()) or sum(map(is_back, taps())) < 2:
    if time.monotonic() > until:
        break
    time.sleep(0.05)
orders = taps()
tap.is_([each for each in orders if not has_lost_one(each)], [], "each had lost its tap, once")
tap.is_(sum(map(is_back, orders)), 2, "before it got another one")
last = net_process()
os.kill(last, signal.SIGKILL)
until = time.monotonic() + PATIENCE
while net_process() in (last, None) and time.monotonic() < until:
    time.sleep(0.05)
tap.ok(all(wait(client, vm) for vm in children), "another one is told the policies that the broker knows")
last = net_process()
os.kill(last, signal.SIGSTOP)
client.sock.settimeout(PATIENCE)
client.seq += 1
seq = client.seq
client.send(CONTROL, json.dumps({"op": "policy", "seq": seq, "vm": children[0], "policy": POLICY}).encode())
client.request("list")
os.kill(last, signal.SIGKILL)
reply = client.reply(seq)
tap.ok("error" not in reply, "and one that the former had heard of and not answered is in force")
tap.ok(all(wait(client, vm) for vm in children), "of VMs that are connected again")
link = net_kit.sh("ip", "-o", "link").stdout
tap.is_(link.count(" pffs"), 1, "there is one link in the host")
server.end()
until = time.monotonic() + PATIENCE
while (net_process() or "pffs" in net_kit.sh("ip", "-o", "link").stdout or
       "pffs" in net_kit.sh("nft", "list", "tables").stdout) and time.monotonic() < until:
    time.sleep(0.05)
tap.is_(net_process(), None, "with the broker's end it ends")
tap.ok("pffs" not in net_kit.sh("ip", "-o", "link").stdout, "and its link")
tap.ok("pffs" not in net_kit.sh("nft", "list", "tables").stdout, "and its rules")
shutil.rmtree(work)
tap.done()
