#!/usr/bin/python3
"""vmctl probe answers in time, and what it says agrees with itself."""
import json
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
VMCTL = os.environ.get("VMCTL", os.path.join(HERE, "../../vmctl/vmctl"))


def probe(*args, path=None):
    env = {**os.environ, "PATH": path or os.environ["PATH"]}
    return subprocess.run([VMCTL, "probe", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=20, check=False, env=env)


def test_in_time():
    "it answers within five seconds, whatever /dev/kvm is"
    start = time.monotonic()
    done = probe()
    assert time.monotonic() - start < 5
    assert done.returncode in (0, 1) and done.stdout.startswith("engine "), done


def test_json():
    "its JSON has every field, in its type"
    said = json.loads(probe("--json").stdout)
    kinds = {"engine": str, "usable": bool, "why": str, "advice": str, "qemu": (str, type(None)),
             "kvm": dict}
    assert set(said) == set(kinds), said
    assert all(isinstance(said[key], kind) for key, kind in kinds.items()), said
    kinds = {"cpu_flag": (str, type(None)), "module": (str, type(None)), "node": bool,
             "access": bool, "api_version": int, "create_vm_usec": (int, type(None)),
             "loop_ns": (float, type(None)), "int3": bool}
    assert set(said["kvm"]) == set(kinds), said
    assert all(isinstance(said["kvm"][key], kind) for key, kind in kinds.items()), said


def test_consistent():
    "the verdict follows from what was measured"
    said = json.loads(probe("--json").stdout)
    kvm = said["kvm"]
    assert kvm["node"] == os.path.exists("/dev/kvm")
    good = (kvm["access"] and kvm["api_version"] == 12 and kvm["create_vm_usec"] is not None
            and kvm["loop_ns"] is not None and kvm["loop_ns"] < 50 and kvm["int3"])
    assert said["engine"] == ("kvm" if good else "emulated"), said
    assert said["usable"] == (good or said["qemu"] is not None)
    assert said["why"] and said["advice"]


def test_qemu():
    "without a QEMU along PATH the emulated host is not usable, and it says what to install"
    with tempfile.TemporaryDirectory() as empty:
        done = probe("--json", path=empty)
        said = json.loads(done.stdout)
        assert said["qemu"] is None
        if said["engine"] == "emulated":
            assert done.returncode == 1 and not said["usable"]
            assert "apt-get install qemu-system-x86" in said["advice"]
        qemu = os.path.join(empty, "qemu-system-x86_64")
        with open(qemu, "w") as f:
            f.write("#!/bin/sh\n")
        os.chmod(qemu, 0o755)
        done = probe("--json", path="/nonexistent:" + empty)
        assert json.loads(done.stdout)["qemu"] == qemu and done.returncode == 0


def test_usage():
    "a wrong option gives the usage and exit status 2"
    for args in (("--frob",), ("extra",)):
        done = probe(*args)
        assert done.returncode == 2 and "usage" in done.stderr, done
    assert probe("--help").returncode == 0


def main():
    tests = [t for n, t in globals().items() if n.startswith("test_")]
    print(f"1..{len(tests)}", flush=True)
    for number, test in enumerate(tests, 1):
        try:
            test()
            print("ok", number, "-", test.__doc__, flush=True)
        except (AssertionError, OSError, ValueError, KeyError, subprocess.SubprocessError) as e:
            print("not ok", number, "-", test.__doc__)
            print("#", type(e).__name__, e, flush=True)


if __name__ == "__main__":
    sys.exit(main())
