"""What the tests of the DNS proxy and of the proxy for secrets share.

A test is in a network namespace of its own, whose loopback has all addresses of slots and
of the two proxies. The test is `vmctl net`, the guests, the resolvers and the internet.
"""
import array
import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.environ.get("VMCTL_NAMES", os.path.join(HERE, "../../vmctl/vmctl-names"))
PATIENCE = 20


def slot_address(slot):
    return f"198.19.{slot >> 8}.{slot & 255}"


def enter_namespaces():
    """Become root of namespaces of our own, where the addresses are; or return why not."""
    if os.environ.get("NAMES_KIT_INSIDE") == "1":
        # 198.19.0.0/16 as a whole, so that a test can be any slot
        for command in ("ip link set lo up", "ip route add local 198.19.0.0/16 dev lo",
                        "ip -6 route add local fd70:6666:7300:1::/64 dev lo"):
            subprocess.run(command.split(), check=True)
        return None
    unshare = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        return "there are no namespaces here"
    os.environ["NAMES_KIT_INSIDE"] = "1"
    os.execvp("unshare", [*unshare, sys.executable, *sys.argv])
    return None


class Program:
    """A running `vmctl-names`, and the channel to it."""

    def __init__(self, name):
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.channel.settimeout(PATIENCE)
        self.kept = []
        # of a build with sanitizers: to look for leaks takes calls that its filter kills for
        environment = {"ASAN_OPTIONS": "detect_leaks=0", **os.environ}
        self.process = subprocess.Popen(
            ["sh", "-c", 'exec "$0" "$1" 3<&0 </dev/null', PROGRAM, name], stdin=theirs,
            env=environment)
        theirs.close()

    def tell(self, message, fds=()):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        self.channel.sendmsg([json.dumps(message).encode()], rights if fds else [])

    def settle(self):
        """Wait until it has taken all that it was told."""
        deadline = time.monotonic() + PATIENCE
        while struct.unpack("i", fcntl.ioctl(self.channel, termios.TIOCOUTQ, bytes(4)))[0]:
            assert time.monotonic() < deadline, "it does not listen"
            time.sleep(0.005)

    def hear(self, op=None, timeout=PATIENCE):
        """The next message of this kind (None: any), or None when none comes."""
        end = time.monotonic() + timeout
        while True:
            for message in self.kept:
                if op is None or message.get("op") == op:
                    self.kept.remove(message)
                    return message
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.channel], [], [], left)[0]:
                return None
            data = self.channel.recv(1 << 18)
            assert data, "the program ended"
            self.kept.append(json.loads(data))

    def policy(self, slot, egress="allow", allow=(), secrets=()):
        self.tell({"op": "policy", "slot": slot, "address": slot_address(slot),
                   "policy": {"egress": egress, "allow": list(allow),
                              "secrets": list(secrets)}})
        self.settle()

    def drop(self, slot):
        self.tell({"op": "drop", "slot": slot})
        self.settle()

    def alive(self):
        return self.process.poll() is None

    def end(self):
        """It ends when `vmctl net` does. Return: its exit status."""
        self.channel.close()
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def run(number, name, test, make):
    signal.alarm(120)
    subject, failed = make(), None
    try:
        test(subject)
        assert subject.alive(), "it has ended"
    except Exception:  # pylint: disable=broad-except
        failed = traceback.format_exc()
    status = subject.end()
    if status and not failed:
        failed = f"exit status {status}"
    signal.alarm(0)
    said = " ".join((test.__doc__ or name).split())
    print(f"{'not ok' if failed else 'ok'} {number} - {said}", flush=True)
    for line in (failed or "").splitlines():
        print("#", line, flush=True)
    return not failed


def main(tests, make):
    """Run every function that is called test_ with a new subject."""
    wanted = sys.argv[1:]
    tests = [(n, t) for n, t in tests.items()
             if n.startswith("test_") and (not wanted or n in wanted)]
    print(f"1..{len(tests)}", flush=True)
    results = [run(i, n, t, make) for i, (n, t) in enumerate(tests, 1)]
    return 0 if all(results) else 1


def skip(why):
    """Say why nothing is tested. Return: the exit status."""
    if os.environ.get("PFFS_MUST_WORK") == "1":
        print("1..1\nnot ok 1 -", why)
        return 1
    print("1..0 # SKIP", why)
    return 0
