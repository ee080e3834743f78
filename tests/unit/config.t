#!/usr/bin/python3
"""config/: what `pffs mount --config` says is what a sandbox begins with."""
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from liar_kit import LIMIT, PFFS, error_of, run  # noqa: E402

EINVAL = 22
NONE = {"exec_timeout": "0", "idle_timeout": "0", "max_lifetime": "0", "persistent": "off",
        "egress": "on", "memory_mib": "512", "vcpus": "1", "disk_mib": "4096", "pids": "0",
        "cpu_percent": "0", "diff_paths": ""}
GIVEN = {"exec_timeout": "2.5", "idle_timeout": "600", "max_lifetime": "86400",
         "persistent": "on", "egress": "off", "memory_mib": "100", "vcpus": "2",
         "disk_mib": "64", "pids": "200", "cpu_percent": "150", "diff_paths": "/root"}


def config_of(mount, *path):
    found = {}
    for key in os.listdir(os.path.join(mount.path, *path, "config")):
        with open(os.path.join(mount.path, *path, "config", key), encoding="utf-8") as file:
            found[key] = file.read().strip()
    return found


def write(mount, name, key, value):
    with open(os.path.join(mount.path, name, "config", key), "w", encoding="utf-8") as file:
        file.write(value)


def test_none(mount):
    "without --config a sandbox has what its machine has, and no other limits"
    mount.sandbox("demo")
    assert config_of(mount, "demo") == NONE, config_of(mount, "demo")


def test_all(mount):
    "each file of config/ can have a default"
    mount.sandbox("demo")
    assert config_of(mount, "demo") == GIVEN, config_of(mount, "demo")


test_all.options = ["--vcpus", "4"] + [
    word for key, value in GIVEN.items() for word in ("--config", f"{key}={value}")]


def test_other(mount):
    "a default can be changed and taken away in a sandbox, and is no matter of its forks"
    mount.sandbox("demo")
    write(mount, "demo", "pids", "0")
    write(mount, "demo", "exec_timeout", "7")
    write(mount, "demo", "diff_paths", "\n")
    mount.lies["child"] = mount.lies["demo"]
    os.mkdir(os.path.join(mount.path, "demo/forks/child"))
    for path in (("demo",), ("demo", "forks", "child")):
        found = config_of(mount, *path)
        assert (found["pids"], found["exec_timeout"], found["diff_paths"]) == ("0", "7", ""), found
        assert found["idle_timeout"] == "60", found
    mount.sandbox("next")
    found = config_of(mount, "next")
    assert (found["pids"], found["exec_timeout"], found["diff_paths"]) == ("20", "3", "/x\n/y"), (
        found)


test_other.options = ["--config", "pids=20", "--config", "exec_timeout=3", "--config",
                      "idle_timeout=60", "--config", "diff_paths=/x\n/y"]


def test_life(mount):
    "a limit of time that is a default holds"
    try:
        mount.sandbox("demo")
    except FileNotFoundError:
        pass
    for _ in range(LIMIT * 1000):
        if not os.path.exists(os.path.join(mount.path, "demo")):
            return
    raise AssertionError("it is there still")


test_life.options = ["--config", "max_lifetime=0.2"]


def test_bad(mount):
    "what could not be written to the file is refused, with what is wrong and exit status 2"
    mount.sandbox("demo")
    for key, value in (("pids", "x"), ("pids", "1"), ("memory_mib", "513"), ("persistent", "yes"),
                       ("exec_timeout", "-1"), ("vcpus", "")):
        if value:
            assert error_of(write, mount, "demo", key, value) == EINVAL, (key, value)
        told = refused(f"{key}={value}")
        assert key in told, (key, value, told)
    for given in ("pids", "nonsense=1", "=1", ""):
        assert "KEY=VALUE" in refused(given), given
    assert "--memory-mib" in refused("memory_mib=513")


def refused(given):
    done = subprocess.run([PFFS, "mount", "--config", given, "/nonexistent/mnt"], check=False,
                          timeout=LIMIT, capture_output=True, text=True)
    assert done.returncode == 2, (given, done)
    return done.stderr.splitlines()[0]


run(globals())
