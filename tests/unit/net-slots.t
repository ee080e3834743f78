#!/usr/bin/python3
"""Slots come and go: many at once, none is left, and names open what they led to."""
import os
import re
import socket
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from net_kit import Guest, Host, StubbedNet, Tap, begin, sh  # noqa: E402

ROUNDS = 1000
MANY = 100
FREE = 8  # slots, at least
begin()
tap = Tap()
web = Host("web", 1, ["1.2.3.4", "1.2.3.5", "2606:4700::4", "10.1.2.3"])
web.serve(80)
web.serve(443)
net = StubbedNet("--uplink", "kernel")
resolved = net.resolved


def maker():
    """The process that makes slots."""
    for pid in sh("pgrep", "-P", str(net.process.pid)).stdout.split():
        with open(f"/proc/{pid}/comm", encoding="ascii") as comm:
            if comm.read() == "vmctl-slots\n":
                return pid
    return None


def count():
    """What there is of slots: the links of the hub that lead to one, how many the hub's map
    leads somewhere, and how many chains it leads to; and descriptors."""
    pid = str(net.process.pid)
    links = len(re.findall(r"^\d+: s\d+", net.in_hub("ip", "-o", "link").stdout, re.M))
    until = time.monotonic() + 30
    while True:
        # nft gives up when the rules change while it reads them
        listed = net.in_hub("nft", "list", "table", "inet", "hub", check=False)
        if not listed.returncode:
            break
        if time.monotonic() > until:
            raise TimeoutError(listed.stderr)
    rules = listed.stdout
    return (links, rules.count(" : goto c") / 2, rules.count("chain c"),
            len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{maker()}/fd")))


def flows():
    """Open connections of slots that the hub remembers."""
    text = net.in_hub("conntrack", "-L").stdout
    return [line for line in text.splitlines() if "ESTABLISHED" in line and "=198.19." in line]


tap.is_(net.hear("listen")["op"], "listen", "dns gets its sockets")
guest = net.guest(1, egress="allow", allow=["web.example:443", "*.sub.example"])
told = net.hear("policy")
slot = told["slot"]
tap.is_(told["policy"]["allow"], ["web.example:443", "*.sub.example"], "and is told of policies")
tap.is_(guest.get("1.2.3.4", 443), "ConnectionRefusedError", "an address nobody asked for is shut")
tap.ok(resolved(slot, "web.example", "1.2.3.4", "2606:4700::4"), "a name is resolved")
tap.is_(guest.get("1.2.3.4", 443), "web", "and opens its address")
tap.is_(guest.get("2606:4700::4", 443), "web", "also of IPv6")
tap.is_(guest.get("1.2.3.4", 80), "ConnectionRefusedError", "at the ports of its entry")
tap.is_(net.log(1, {"address": "1.2.3.4", "action": "allow"}).get("name"), "web.example",
        "the log has the name")
resolved(slot, "elsewhere.example", "1.2.3.5")
tap.is_(guest.get("1.2.3.5", 443), "ConnectionRefusedError", "a name that no entry covers does not")
resolved(slot, "a.sub.example", "10.1.2.3")
tap.is_(guest.get("10.1.2.3", 80), "ConnectionRefusedError", "nor one that leads to a closed range")
resolved(slot, "b.sub.example", "1.2.3.4", "1.2.3.5", ttl=1)
tap.is_(guest.get("1.2.3.4", 80), "web", "two names of an address open both their ports")
long = guest.tcp("1.2.3.5", 80)
long.recv(100)
until = time.monotonic() + 30
while guest.get("1.2.3.5", 80) == "web" and time.monotonic() < until:
    time.sleep(0.5)
tap.is_(guest.get("1.2.3.5", 80), "ConnectionRefusedError", "an address closes after its time")
tap.is_(guest.get("1.2.3.4", 443), "web", "another name's is open still")
long.send(b"still")
tap.is_(long.recv(100), b"still", "a connection outlives that")
net.policy(1, "allow", ["*.sub.example", "new.example"])
long.send(b"here")
tap.is_(long.recv(100), b"here", "and a change, as its name is allowed yet")
tap.is_(guest.get("1.2.3.4", 443), "ConnectionRefusedError", "what the other name opened is shut")
net.policy(1, "allow", ["new.example"])
try:
    long.send(b"gone")
    answer = long.recv(100)
except ConnectionResetError:
    answer = b""
tap.is_(answer, b"", "and is cut when its name is not allowed any more")
net.send(op="gone", vm=1)
guest.close()

# A domain whose owner is hostile: as many names and addresses as there can be.
PORTS = ",".join(str(port) for port in range(1001, 1033, 2))
guest = net.guest(2, egress="allow", allow=["*.evil.example:" + PORTS, "good.example"])
while (told := net.hear("policy"))["slot"] == slot:
    pass  # of the guest before
slot = told["slot"]
for number in range(2048):
    resolved(slot, f"n{number}.evil.example", "9.9.9.9")
for number in range(16):
    resolved(slot, f"{number}.evil.example", *(f"9.8.{number}.{last}" for last in range(128)))
for number in range(16):
    resolved(slot, f"six{number}.evil.example", *(f"2600::{number}:{last}" for last in range(128)))
net.policy(2, "allow", ["*.evil.example", "good.example"])
resolved(slot, "good.example", "1.2.3.4")
tap.is_(guest.get("1.2.3.4", 80), "web", "many names and addresses: another one opens yet")
net.policy(2, "allow", ["*.evil.example:" + PORTS])
tap.is_(guest.get("1.2.3.4", 80), "ConnectionRefusedError", "and is shut when it is taken back")
net.send(op="gone", vm=2)
guest.close()

net.policy(1000, "on")
start = time.monotonic()
for vm in range(1, MANY + 1):
    net.send(op="inherit", vm=vm + 1000, parent=1000)
    net.send(op="take", vm=vm + 1000)
taps = {}
while len(taps) < MANY:
    message, fds = net.receive(60)
    os.set_blocking(fds[0], False)
    taps[message["vm"]] = fds[0]
tap.ok(True, f"{MANY} VMs are connected")
print(f"# in {time.monotonic() - start:.2f} s")
some = [Guest(taps.pop(vm)) for vm in sorted(taps)[:10]]
tap.is_([each.get("1.2.3.4", 80) for each in some], ["web"] * 10, "and reach the internet")
links, ruled, chains, _, _ = count()
tap.ok(links >= MANY and ruled >= MANY, "each by a link and rules of its own")
tap.is_(chains, 1, "which are one chain")
open_yet = some[0].tcp("1.2.3.4", 80)
until = time.monotonic() + 20
while len(flows()) != 1 and time.monotonic() < until:
    time.sleep(0.1)
tap.is_(len(flows()), 1, "a connection is open")
for vm in range(1, MANY + 1):
    net.send(op="gone", vm=vm + 1000)
for fd in taps.values():
    os.close(fd)
for each in some:
    each.close()


def settled():
    """What there is beside slots that are free, when there are no others: links, chains, and
    descriptors, ours and the maker's. Each free slot has a link, rules and a tap."""
    until = time.monotonic() + 60
    last = None
    while time.monotonic() < until:
        now = count()
        if now == last and now[0] == now[1]:
            break
        last = now
        time.sleep(1)
    links, ruled, chains, fds, fds_of_maker = last
    return links - ruled, chains, fds - links, fds_of_maker


before = settled()
until = time.monotonic() + 60
while flows() and time.monotonic() < until:
    time.sleep(0.5)
tap.is_(flows(), [], "and not remembered any more when its slot is gone")
for _ in range(20):  # a peer that sends more than it may
    socket.send_fds(net.sock, [b'{"op": "none"}'], [0, 1])
for number in range(ROUNDS):
    net.send(op="inherit", vm=number + 5000, parent=1000)
    os.close(net.take(number + 5000))
    net.send(op="gone", vm=number + 5000)
    if number % 50 == 0:
        net.drain(net.dns)
        net.drain(net.proxy)
tap.is_(settled(), before, f"nothing is left of {ROUNDS} slots that came and went")
until = time.monotonic() + 150
while count()[0] != FREE and time.monotonic() < until:
    time.sleep(1)
tap.is_(count()[:3], (FREE, FREE, 1), "after a while as few are free as at first")
net.send(op="gone", vm=1000)
until = time.monotonic() + 20
while count()[1:3] != (0, 0) and time.monotonic() < until:
    time.sleep(0.2)
tap.is_(count()[:3], (FREE, 0, 0), "rules that no VM has any more are nowhere")
net.close()
tap.is_(net.process.returncode, 0, "it ends with its broker")
tap.done()
