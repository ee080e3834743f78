#!/usr/bin/python3
"""What `dns` says counts from then on, whatever else there is to read; and what is to be in force
is told to it and to `proxy` before, however much they have not read yet."""
import json
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from net_kit import PATIENCE, Host, StubbedNet, Tap, begin  # noqa: E402

begin()
tap = Tap()
web = Host("web", 1, ["1.2.3.4", "1.2.3.5"])
web.serve(80)
net = StubbedNet("--uplink", "kernel")


def until(true):
    deadline = time.monotonic() + PATIENCE
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def unread():
    """Bytes of the log of connections that the kernel holds for `vmctl net`."""
    lines = net.in_hub("cat", "/proc/net/netlink").stdout.splitlines()
    return sum(int(line.split()[4]) for line in lines if line.split()[1] == "12")


# As when `vmctl net` has no time: another connection is in the log, then a name is resolved,
# and a connection follows at once.
guest = net.guest(1)
slot = net.hear("policy")["slot"]
guest.get("1.2.3.5", 80)  # all on the way there know each other
tap.ok(net.log(1, {"address": "1.2.3.5"}) and until(lambda: not unread()), "the log is read")
os.kill(net.process.pid, signal.SIGSTOP)
guest.get("1.2.3.5", 80)
tap.ok(until(unread), "a connection is in the log, and not read")
net.dns.send(json.dumps({"op": "open", "seq": 1, "slot": slot, "name": "web.example",
                         "addresses": [{"address": "1.2.3.4", "ttl": 300}]}).encode())
before = unread()
guest.get("1.2.3.4", 80)
tap.ok(until(lambda: unread() > before), "so is one to what a name has led to since")
os.kill(net.process.pid, signal.SIGCONT)
tap.is_((net.log(1, {"address": "1.2.3.4"}) or {}).get("name"), "web.example",
        "its record has that name")
guest.close()
net.send(op="gone", vm=1)

# As when one of both has no time: more is to be told of slots than its socket takes.
LONG = [f"*.x{number:04}.{'a' * 30}.example.com:443" for number in range(1000)]
FORKS = 110
net.policy(2, "allow", LONG)


def stop():
    os.kill(net.process.pid, signal.SIGSTOP)

    def stopped():
        with open(f"/proc/{net.process.pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(") ")[2][0] in "Tt"

    return until(stopped)


def heard(seconds, busy):
    """What the broker hears until nothing comes for so long: the VMs that have a tap, the
    policies that are in force. All who are not in @busy read what they are told."""
    taps, policies = set(), set()
    while True:
        for channel in (net.dns, net.proxy):
            if channel != busy:
                net.drain(channel)
        began = time.monotonic()
        try:
            message, fds = net.receive(seconds)
        except TimeoutError:
            if time.monotonic() - began > seconds + 0.2:
                continue  # the machine stood still: that was no quiet
            return taps, policies
        if message["event"] == "slot":
            os.close(fds[0])
            taps.add(message["vm"])
        else:
            policies.add(message["vm"])


def told(channel):
    return sum(message.get("op") == "policy" for message in net.drain(channel))


for name, busy, first in ("dns", net.dns, 1000), ("proxy", net.proxy, 2000):
    heard(0.2, None)
    forks = range(first, first + FORKS)
    for vm in forks:
        net.send(op="inherit", vm=vm, parent=2)
        net.send(op="take", vm=vm)
    taps, _ = heard(2, busy)
    net.send(op="policy", vm=first, seq=1, policy={"egress": "off", "allow": [], "secrets": []})
    more, policies = heard(2, busy)
    taps |= more
    tap.ok(stop() and 0 < len(taps) <= told(busy), f"who has a tap {name} was told of")
    tap.ok(len(taps) < FORKS, "others wait")
    tap.is_(policies, set(), "so does a policy")
    os.kill(net.process.pid, signal.SIGCONT)
    deadline = time.monotonic() + 6 * PATIENCE
    while (len(taps) < FORKS or not policies) and time.monotonic() < deadline:
        more, other = heard(0.1, None)
        taps, policies = taps | more, policies | other
    tap.is_((taps, policies), (set(forks), {first}), f"once {name} has read they come")
    for vm in forks:
        net.send(op="gone", vm=vm)
net.close()
tap.done()
