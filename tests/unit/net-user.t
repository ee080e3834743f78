#!/usr/bin/python3
"""The uplink of who may make no links: pasta carries what leaves, by the sockets of that user."""
import os
import socket
import stat
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from net_kit import Host, Net, Tap, begin, libc, listen, serve, sh  # noqa: E402

NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}
CLONE_NEWNS = 0x20000
HOST4, HOST6 = "1.2.3.100", "2606:4700::100"  # of the machine itself
GATEWAY4, GATEWAY6 = "198.18.128.1", "fd70:6666:7300:8000::1"  # pasta's end
SHUT = "ConnectionRefusedError"


def let_all_make_taps():
    """As on most machines; here it is so only for this test's processes."""
    libc.unshare(CLONE_NEWNS)
    sh("mount", "--make-rprivate", "/")
    sh("mount", "-t", "tmpfs", "tmpfs", "/dev/net")
    os.mknod("/dev/net/tun", stat.S_IFCHR, os.makedev(10, 200))
    os.chmod("/dev/net/tun", 0o666)


def greeting(address):
    with socket.create_connection((address, 8080), 20) as sock:
        return sock.recv(100).decode()


def cut(sock, patience=20):
    """Is the connection over? What is sent may be lost before."""
    until = time.monotonic() + patience
    sock.settimeout(0.2)
    while time.monotonic() < until:
        try:
            sock.send(b"?")
            if not sock.recv(100):
                return True
        except TimeoutError:
            pass
        except OSError:
            return True
    return False


begin()
let_all_make_taps()
tap = Tap()
web = Host("web", 1, ["1.2.3.4", "2606:4700::4"])
web.serve(80)
sh("ip", "route", "add", "default", "via", "192.0.0.6")
sh("ip", "addr", "add", f"{HOST4}/32", "dev", "lo")
sh("ip", "addr", "add", f"{HOST6}/128", "dev", "lo")
sh("ip", "-6", "route", "add", "default", "via", "fd00:1::2")
serve(listen(8080), "machine")
net = Net("--uplink", "auto", **NOBODY)
first, second = net.guest(1), net.guest(2)
tap.is_(net.uplink["uplink"], "user", "pasta is the uplink of a user who may make no links")
tap.is_([line for line in sh("ip", "-o", "link").stdout.splitlines() if "pffs" in line], [],
        "on the machine there is no link of it")
for guest in (first, second):
    tap.is_((guest.get("1.2.3.4", 80), guest.get("2606:4700::4", 80)), ("web", "web"),
            "a sandbox has the internet, by IPv4 and by IPv6")
tap.is_(web.inside(greeting, HOST4), "machine", "another host has the machine's addresses")
tap.is_((first.get(HOST4, 8080), first.get(HOST6, 8080)), (SHUT, SHUT), "a sandbox has not")
tap.ok("machine" not in (first.get(GATEWAY4, 8080, 2), first.get(GATEWAY6, 8080, 2)),
       "nor its loopback, behind pasta's end")
open4, open6 = first.tcp("1.2.3.4", 80), first.tcp("2606:4700::4", 80)
net.policy(1, egress="off")
tap.ok(cut(open4) and cut(open6), "a policy that becomes off cuts what is open")
tap.is_((first.get("1.2.3.4", 80), first.get("2606:4700::4", 80)), (SHUT, SHUT), "and lets nothing leave")
tap.is_((second.get("1.2.3.4", 80), second.get("2606:4700::4", 80)), ("web", "web"), "another sandbox goes on")
net.close()

net = Net("--uplink", "user")
guest = net.guest(1)
tap.is_((guest.get("1.2.3.4", 80), guest.get("2606:4700::4", 80)), ("web", "web"), "root can have pasta, too")
net.close()

sh("ip", "-6", "route", "del", "default")
net = Net("--uplink", "user", **NOBODY)
guest = net.guest(1)
tap.is_(guest.get("1.2.3.4", 80), "web", "on a machine that has IPv4 alone there is that")
tap.ok(guest.get("2606:4700::4", 80) not in ("web", "TimeoutError"),
       "and who tries IPv6 hears at once that it cannot be")
net.close()
tap.done()
