#!/usr/bin/python3
"""What `dns` says counts from then on, whatever else there is to read."""
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
net.close()
tap.done()
