#!/usr/bin/python3
"""bench/forkcost and bench/slots.py run, and their tables have every row; what they measure is
not judged."""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
FORKCOST = os.path.join(HERE, "../../bench/forkcost")
ROWS = ["park the vCPU", "read KVM's state", "seal the disk", "fork(2)", "= pause of the parent",
        "child: KVM_CREATE_VM", "child: memory slots", "child: KVM_CREATE_VCPU",
        "child: set KVM's state", "= order to the child's first exit", "end of the child, reaped"]

SLOTS = os.path.join(HERE, "../../bench/slots.py")
SLOT_ROWS = ["a fork, of the sandbox of the one before", "forks of two sandboxes in turn",
             "one with a policy that nobody had before", "9 at once for the first time: all",
             "9 at once for the first time: each", "9 at once a second time: all",
             "9 at once a second time: each"]


def forkcost(*args):
    return subprocess.run([FORKCOST, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=120, check=False)


def test_usage(_done):
    "a wrong option gives the usage and exit status 2"
    for args in (("--frob",), ("extra",), ("--rounds", "0"), ("--touched", "x")):
        done = forkcost(*args)
        assert done.returncode == 2 and "usage" in done.stderr, done
    assert forkcost("--help").returncode == 0


def test_ends(done):
    "it ends well, or says that there is no KVM and exits with 77"
    assert done.returncode == (0 if os.path.exists("/dev/kvm") else 77), done
    assert done.returncode == 0 or "not measured" in done.stderr, done


def test_machine(done):
    "it says on what it was measured"
    for key in ("machine", "kernel", "KVM", "load", "version"):
        assert done.returncode == 77 or re.search("^%s +\\S" % key, done.stdout, re.M), done


def test_rows(done):
    "there is a table for huge and one for small pages, and each has its rows"
    if done.returncode == 77:
        return
    tables = re.split("\n(?=huge pages|4 KiB pages)", done.stdout)[1:]
    assert len(tables) == 2, done
    for table in tables:
        for row in ROWS:
            assert re.search("^%s( +-?\\d+){3} *$" % re.escape(row), table, re.M), (row, table)


def test_slots(_done):
    "bench/slots.py has its rows, or says that only root can measure that, and exits with 77"
    done = subprocess.run([SLOTS, "--rounds", "2", "--bursts", "1", "--many", "9"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=120, check=False)
    if os.geteuid() != 0:
        assert done.returncode == 77 and "not measured" in done.stderr, done
        return
    assert done.returncode == 0, done
    for row in SLOT_ROWS:
        assert re.search("^%s +\\d+( +[\\d.]+){2}$" % re.escape(row), done.stdout, re.M), (row, done)


def main():
    tests = [t for n, t in globals().items() if n.startswith("test_")]
    done = forkcost("--rounds", "2", "--touched", "64")
    print(f"1..{len(tests)}", flush=True)
    for number, test in enumerate(tests, 1):
        try:
            test(done)
            print("ok", number, "-", test.__doc__, flush=True)
        except (AssertionError, subprocess.SubprocessError) as error:
            print("not ok", number, "-", test.__doc__)
            print("#", type(error).__name__, error, flush=True)


if __name__ == "__main__":
    sys.exit(main())
