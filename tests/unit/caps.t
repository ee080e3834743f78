#!/usr/bin/python3
"""At the cap of the host, with --at-cap freeze: what is made while another one is still being
frozen has room in the end, and until then there are no more machines than there may be.
"""
import json
import os
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from broker_kit import main, skip  # noqa: E402
from liar_kit import CONTROL, LIMIT, PFFS, LyingMount, error_of  # noqa: E402

ENOSPC, CAP = 28, 3


class SlowlyFreezing(LyingMount):
    """Freezing takes until the test says so. Machines of sandboxes are counted."""

    def __init__(self, work, options=()):
        self.freezing, self.machines, self.most = [], set(), 0
        super().__init__(work, ["--state", os.path.join(work, "state"), "--max-sandboxes",
                                str(CAP), "--at-cap", "freeze", *options])

    def control(self, request):
        operation, answer = request["op"], {"seq": request["seq"]}
        if operation == "freeze":
            self.freezing.append(request)
        elif operation in ("thaw", "save"):
            if operation == "thaw":
                answer.update(vm=self.new_guest(), pid=1)
                self.has(answer["vm"])
            self.send(CONTROL, json.dumps({"bytes": 4096, **answer}).encode())
        else:
            before = set(self.guests)
            super().control(request)
            if operation == "fork":
                for vm in sorted(set(self.guests) - before)[:len(request["names"])]:
                    self.has(vm)
            elif operation == "destroy":
                self.machines.discard(request["vm"])

    def has(self, vm):
        self.machines.add(vm)
        self.most = max(self.most, len(self.machines))

    def end_freezing(self, error=None):
        """The oldest one."""
        wait(lambda: self.freezing)
        request = self.freezing.pop(0)
        answer = {"seq": request["seq"], "bytes": 4096}
        if error:
            answer = {"seq": request["seq"], "error": error, "errno": ENOSPC}
        else:
            self.machines.discard(request["vm"])
            self.guests.pop(request["vm"], None)
        self.send(CONTROL, json.dumps(answer).encode())

    def at(self, *names):
        return os.path.join(self.path, *names)

    def make(self, *names):
        for name in names:
            self.sandbox(name)
            wait(self.is_in, name, "ready")

    def is_in(self, name, state):
        with open(self.at(name, "status"), encoding="utf-8") as file:
            return f"\nstate {state}\n" in file.read()


def wait(what, *arguments):
    deadline = time.monotonic() + LIMIT
    while not what(*arguments):
        assert time.monotonic() < deadline, (what, arguments)
        time.sleep(0.01)


def test_two_at_once(mount):
    "two more are there at once, wait for what is frozen in their place, and then work"
    mount.make("a", "b", "c")
    mount.sandbox("d")
    mount.sandbox("e")
    assert mount.is_in("d", "starting") and mount.is_in("e", "starting")
    wait(lambda: len(mount.freezing) == 2)
    assert len(mount.machines) == CAP, mount.machines
    mount.end_freezing()
    wait(mount.is_in, "a", "frozen")
    mount.end_freezing()
    wait(mount.is_in, "b", "frozen")
    wait(mount.is_in, "d", "ready")
    wait(mount.is_in, "e", "ready")
    assert mount.is_in("c", "ready"), "no more than two had to go"
    assert mount.most == CAP and not mount.freezing, (mount.most, mount.freezing)


def test_too_many(mount):
    "a fourth finds nothing that is idle, while all others are being frozen or wait for room"
    mount.make("a", "b", "c")
    for name in ("d", "e", "f"):
        mount.sandbox(name)
    assert error_of(os.mkdir, mount.at("g")) == ENOSPC
    for _ in range(3):
        mount.end_freezing()
    for name in ("d", "e", "f"):
        wait(mount.is_in, name, "ready")
    assert mount.most == CAP, mount.most


def test_fork(mount):
    "a fork of a sandbox is made when there is room, and its parent can be used meanwhile"
    mount.make("a", "b", "demo")
    maker = threading.Thread(target=os.mkdir, args=(mount.at("demo", "forks", "x"),), daemon=True)
    mount.lies["x"] = mount.lies["demo"]
    maker.start()
    wait(lambda: mount.freezing)
    assert os.listdir(mount.at("demo", "fs")) == ["file"]
    assert len(mount.machines) == CAP and maker.is_alive()
    mount.end_freezing()
    maker.join(LIMIT)
    assert not maker.is_alive() and mount.is_in("demo/forks/x", "ready")
    assert mount.most == CAP, mount.most


def test_resumed(mount):
    "what was frozen, and is used, is resumed when there is room for it"
    mount.make("a", "b", "c")
    mount.sandbox("d")
    mount.end_freezing()
    wait(mount.is_in, "d", "ready")
    wait(mount.is_in, "a", "frozen")
    with open(mount.at("a", "ctl"), "w", encoding="utf-8") as file:
        file.write("resume")
    wait(lambda: mount.freezing)
    assert mount.is_in("a", "starting") and len(mount.machines) == CAP
    mount.end_freezing()
    wait(mount.is_in, "a", "ready")
    wait(mount.is_in, "b", "frozen")
    assert mount.most == CAP, mount.most


def test_removed(mount):
    "one that is removed while it is being frozen, or while it waits, holds nobody up"
    mount.make("a", "b", "c")
    mount.sandbox("d")
    mount.sandbox("e")
    wait(lambda: len(mount.freezing) == 2)
    os.rmdir(mount.at("d"))
    os.rmdir(mount.at("a"))
    wait(mount.is_in, "e", "ready")
    mount.end_freezing()
    mount.end_freezing()
    wait(mount.is_in, "b", "frozen")
    assert mount.most == CAP, mount.most


def test_failed(mount):
    "when freezing fails it stays, and who was admitted in its place is made all the same"
    mount.make("a", "b", "c")
    mount.sandbox("d")
    mount.end_freezing("no room on the disk")
    wait(mount.is_in, "d", "ready")
    assert mount.is_in("a", "ready") and mount.most == CAP + 1
    with open(mount.at("a", "error"), encoding="utf-8") as file:
        assert "no room" in file.read()


if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
    sys.exit(skip("mounting takes root and /dev/fuse"))
if not os.access(PFFS, os.X_OK):
    sys.exit(skip("pffs is not built"))
sys.exit(main(globals(), SlowlyFreezing))
