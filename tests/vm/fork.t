#!/usr/bin/env python3
"""Forks of real guests: memory, streams, threads, processes."""
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from vm_kit import main  # noqa: E402 # pylint: disable=wrong-import-position


def test_values(server):
    "a fork has its parent's memory, and each its own from then on"
    parent = server.boot()
    parent.run("x = 41; data = list(range(100000)); open('/root/f', 'w').write('before')")
    child = parent.fork()
    print("# reply after", round(child.reply["seconds"] * 1000), "ms, pause",
          child.reply["pause_usec"], "us", flush=True)
    assert child.run("print(x, sum(data))") == "41 4999950000\n"
    child.run("x = 1; data.clear(); open('/root/f', 'w').write('child')")
    assert parent.run("print(x, len(data), open('/root/f').read())") == "41 100000 before\n"
    parent.run("x = 2; open('/root/f', 'w').write('parent')")
    assert child.run("print(x, len(data), open('/root/f').read())") == "1 0 child\n"
    assert child.run("head -c 1000000 /dev/urandom > /root/big; sync; echo 3 > /proc/sys/vm/drop_caches; "
                     "md5sum < /root/big; cat /root/f", 2).endswith("child")
    assert parent.run("sync; echo 3 > /proc/sys/vm/drop_caches; cat /root/f; ls /root/big 2>/dev/null || true", 2) == "parent"


def counts(run):
    return [int(line) for line in run.out.split(b"\n")[:-1] if line]


def test_running(server):
    "a fork during a loop: both go on, and every byte comes once"
    parent = server.boot()
    loop = ("import time, math\nlast = time.monotonic()\nback = 0\nsum = 0.0\n"
            "for i in range(%d):\n    print(i, flush=True)\n    sum += math.sin(i)\n"
            "    now = time.monotonic()\n    back += now < last\n    last = now\nprint(-back)\n")
    total = "import math\nwant = 0.0\nfor i in range(4000):\n    want += math.sin(i)\nprint(want == sum)"
    run = parent.begin(loop % 4000)
    family = [parent]
    for turn in range(4):
        parent.wait(lambda: len(run.out) > 500 * (turn + 1))
        family.append(parent.fork())
    for guest in family:
        its = guest.runs[guest.last]
        guest.wait(lambda: its.status is not None)
        assert its.status == (0, 0), (its.status, its.err)
        assert counts(its) == list(range(4000)) + [0], (guest.vm, its.out[-100:])
        assert guest.run(total) == "True\n"
    for number, guest in enumerate(family):
        guest.wake(2 + number)
    assert len({guest.run("import os; print(os.urandom(16).hex())") for guest in family}) == 5


def test_storm(server):
    "forks during heavy disk writes: every copy of the disk is whole"
    parent = server.boot()
    run = parent.begin("for i in $(seq 24); do head -c 150000 /dev/urandom > /root/s$i; "
                       "md5sum /root/s$i >> /root/sums; sync; echo $i; done; sync; "
                       "echo 3 > /proc/sys/vm/drop_caches; md5sum --quiet -c /root/sums; "
                       "wc -l < /root/sums; dmesg | grep -ci 'ext4.*error'; true", 2)
    family = [parent]
    for turn in range(3):
        parent.wait(lambda: run.out.count(b"\n") >= 5 * (turn + 1))
        family.append(family[turn].fork())
    sums = set()
    for guest in family:
        its = guest.runs[guest.last]
        guest.wait(lambda: its.status is not None)
        assert its.out.endswith(b"24\n24\n0\n") and not its.err, (its.out[-300:], its.err)
        sums.add(guest.run("md5sum /root/sums", 2))
    assert len(sums) > 1, "the copies have not parted"


def test_depth(server):
    "a fork of a fork of a fork, with sleeping threads and timers"
    guest = server.boot()
    guest.run("depth = [0]\nimport threading, time\nhits = []\n"
              "def tick():\n    while True:\n        time.sleep(0.05)\n        hits.append(1)\n"
              "threading.Thread(target=tick, daemon=True).start()")
    for depth in range(1, 6):
        guest = guest.fork("depth%d" % depth)
        guest.run("depth.append(%d); n = len(hits)" % depth)
        assert guest.run("print(depth)") == str(list(range(depth + 1))) + "\n"
        assert guest.run("time.sleep(0.3); print(len(hits) > n)") == "True\n"
        begun = time.monotonic()
        out = guest.run("a = time.monotonic(); time.sleep(0.1); print(time.monotonic() - a)")
        assert 0.09 < float(out) < time.monotonic() - begun + 1, out  # a clock that jumps is seen, a slow host is none
    assert all(g.run("print(6 * 7)") == "42\n" for g in server.client.guests)


def test_many(server):
    "20 children of one parked parent; destroyed, they leave nothing"
    parent = server.boot()
    parent.run("x = 7; import random")
    assert "error" not in server.client.request("park", vm=parent.vm)
    before = server.client.request("stat")
    times = []
    children = []
    for number in range(20):
        children.append(parent.fork("child%d" % number))
        times.append((children[-1].reply["seconds"], children[-1].reply["pause_usec"]))
    print("# replies, ms:", [round(t * 1000) for t, _ in times], "fork in parent, us:",
          [p for _, p in times], flush=True)
    for number, child in enumerate(children):
        assert child.run("x += %d; print(x)" % number) == "%d\n" % (7 + number)
    for child in children:
        child.destroy()
    assert server.client.request("stat")["vms"] == before["vms"]
    assert "error" not in server.client.request("resume", vm=parent.vm)
    assert parent.run("print(x)") == "7\n"


def test_bulk(server):
    "100 children at once of a talking guest: one pause, and all are whole"
    parent = server.boot(memory_mib=256)
    parent.run("x = 7; data = list(range(10000))")
    run = parent.begin("import time\nfor i in range(12): print(i, flush=True); time.sleep(0.05)")
    parent.wait(lambda: len(run.out) > 5)
    children = parent.fork_many(["child%d" % n for n in range(100)])
    print("# reply after", round(children[0].reply["seconds"] * 1000), "ms, pause",
          children[0].reply["pause_usec"], "us", flush=True)
    assert len({child.pid for child in children}) == 100
    assert len({bytes(child.runs[child.last].out) for child in children}) == 1
    for number, guest in list(enumerate([parent] + children))[::10]:
        its = guest.runs[guest.last]
        guest.wait(lambda: its.status is not None)
        assert its.status == (0, 0) and counts(its) == list(range(12)), (guest.vm, its.out[-100:])
        assert guest.run("x += %d; print(x, sum(data))" % number) == "%d 49995000\n" % (7 + number)


def test_orphans(server):
    "children live on when their parent is killed; their end is noticed"
    parent = server.boot()
    parent.run("x = 5")
    child = parent.fork()
    grandchild = child.fork()
    for victim, survivor in ((parent, child), (child, grandchild)):
        server.client.request("kill", vm=victim.vm, signal=int(signal.SIGKILL))
        event = server.client.wait_event("dead", victim.vm)
        assert "signal 9" in event["reason"], event
        assert survivor.run("x += 1; print(x)") == "6\n"
        reply = server.client.request("fork", vm=victim.vm, names=["late"])
        assert reply["errno"] == 5 and "signal 9" in reply["error"], reply
    server.client.events.clear()
    server.client.request("kill", vm=grandchild.vm, signal=int(signal.SIGKILL))
    assert "reason" in server.client.wait_event("dead", grandchild.vm)


def test_two_vcpus(server):
    "both vCPUs of a busy guest go on in the fork"
    parent = server.boot(vcpus=2)
    assert parent.run("import os; print(os.cpu_count())") == "2\n"
    run = parent.begin("import subprocess, sys\n"
                       "code = 'n = 0\\nfor i in range(300000): n += i * i % 7\\nprint(n)'\n"
                       "both = [subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE)"
                       " for _ in range(2)]\n"
                       "print('begun', flush=True)\n"
                       "print([int(p.communicate()[0]) for p in both])\n")
    parent.wait(lambda: b"begun" in run.out)
    child = parent.fork()
    for guest in (parent, child):
        its = guest.runs[guest.last]
        guest.wait(lambda: its.status is not None)
        want = sum(i * i % 7 for i in range(300000))
        assert its.status == (0, 0) and its.out == b"begun\n[%d, %d]\n" % (want, want), its.out
    assert child.run("import os; print(len(os.sched_getaffinity(0)))") == "2\n"


sys.exit(main(globals()))
