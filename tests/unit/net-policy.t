#!/usr/bin/python3
"""What a policy lets through, and what not: on, off, allow, ranges, ports, changes."""
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from net_kit import Guest, Host, Net, Tap, begin, sh  # noqa: E402

REFUSED = "ConnectionRefusedError"
begin()
tap = Tap()
web = Host("web", 1, ["1.2.3.4", "2606:4700::4"])
other = Host("other", 2, ["5.6.7.8", "2606:4700::8", "10.1.2.3", "169.254.169.254"])
for host in (web, other):
    host.serve(80)
    host.serve(81)
net = Net("--uplink", "kernel")


def alive(sock):
    """Does what is said come back?"""
    try:
        sock.send(b"ping")
        return sock.recv(100) == b"ping"
    except OSError:
        return False


def opened(guest, address, port):
    sock = guest.tcp(address, port)
    assert not isinstance(sock, str), (address, port, sock)
    sock.recv(100)
    return sock


guest = net.guest(1)
tap.is_(guest.get("1.2.3.4", 80), "web", "on: a host of the internet")
tap.is_(guest.get("2606:4700::4", 80), "web", "on: the same by IPv6")
tap.ok(guest.ping("1.2.3.4"), "on: ping")
tap.ok(guest.ping("2606:4700::4"), "on: ping by IPv6")
for address, what in (("10.1.2.3", "a private range"), ("169.254.169.254", "metadata"),
                      ("127.0.0.1", None), ("198.19.0.17", "another slot"),
                      ("192.0.0.5", "an address of the host"), ("fd00:1::1", "the same by IPv6"),
                      ("198.18.128.1", "the host's end of the uplink")):
    if what:
        tap.is_(guest.get(address, 80), REFUSED, f"on: {what} is closed, and refused at once")
record = net.log(1, {"address": "10.1.2.3"})
tap.is_(record, {"action": "deny", "proto": "tcp", "address": "10.1.2.3", "port": 80,
                 "reason": "closed range"}, "the log says why")
tap.is_(net.log(1, {"address": "2606:4700::4", "proto": "tcp"})["action"], "allow",
        "and what was let through")
tap.is_(net.log(1, {"address": "198.19.0.17"})["reason"], "closed for good", "and for good")

net.policy(1, "on", ["10.1.0.0/16:80"])
tap.is_(guest.get("10.1.2.3", 80), "other", "on: an entry opens what is closed")
tap.is_(guest.get("10.1.2.3", 81), REFUSED, "at its ports alone")

first, second = opened(guest, "1.2.3.4", 80), opened(guest, "5.6.7.8", 81)
six = opened(guest, "2606:4700::8", 80)
start = time.monotonic()
net.policy(1, "allow", ["5.6.7.0/24:81", "[2606:4700::4]:80"])
tap.ok(time.monotonic() - start < 1, "a change is in force within a second")
tap.ok(alive(second), "a connection that the new policy allows goes on")
tap.ok(not alive(first), "another one is cut, and its guest told")
tap.ok(not alive(six), "also by IPv6")
tap.is_(guest.get("1.2.3.4", 80), REFUSED, "allow: what is not named is shut")
tap.is_(guest.get("5.6.7.8", 81), "other", "allow: what a range names is open")
tap.is_(guest.get("5.6.7.8", 80), REFUSED, "allow: at its ports alone")
tap.is_(guest.get("2606:4700::4", 80), "web", "allow: an address by IPv6")
tap.is_(net.log(1, {"address": "5.6.7.8", "port": 80})["reason"], "not in allow", "the log")

net.policy(1, "allow", [])
tap.ok(not alive(second), "an empty list cuts what was open")
tap.is_(guest.get("5.6.7.8", 81), REFUSED, "and opens nothing")
ports = ",".join(str(port) for port in range(1001, 1033, 2))
net.policy(1, "allow", [f"[2600:{number:x}::/32]:{ports}" for number in range(600)] + ["5.6.7.8"])
tap.is_(guest.get("5.6.7.8", 81), "other", "a long list opens what its last entry names")
tap.is_(guest.get("1.2.3.4", 80), REFUSED, "and no more than it says")
net.policy(1, "off", ["5.6.7.8"])
tap.is_(guest.get("5.6.7.8", 81), REFUSED, "off: nothing leaves")
tap.is_(net.log(1, {"reason": "egress off"})["action"], "deny", "off: the log")

net.send(op="network", closed=["5.6.7.8"])
net.policy(1, "on")
tap.is_(guest.get("5.6.7.8", 81), REFUSED, "what is said to be the host's is closed for good")
for address in ("9.8.7.6", "2606:4700::99"):
    sh("ip", "addr", "add", address, "dev", "lo")
    tap.ok(net.log_of_connect(guest, address, {"reason": "closed for good"}),
           f"so is {address}, which the host gets later")
tap.is_(guest.get("1.2.3.4", 80), "web", "on again")

net.send(op="inherit", vm=2, parent=1)
child = Guest(net.take(2))
tap.is_(child.get("1.2.3.4", 80), "web", "a fork has its parent's policy")
net.policy(1, "off")
tap.is_(child.get("1.2.3.4", 80), "web", "and keeps it when the parent gets another one")
tap.is_(guest.get("1.2.3.4", 80), REFUSED, "which that has")
net.send(op="gone", vm=2)
net.policy(1, "on")
tap.ok(child.get("1.2.3.4", 80, timeout=1) != "web", "what is gone has no way out")
net.close()
tap.is_(net.process.returncode, 0, "it ends with its broker")
tap.done()
