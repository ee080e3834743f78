#!/usr/bin/python3
"""stats and metrics: what sandboxes use, cheaply, and as OpenMetrics."""
import errno
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from broker_kit import PATIENCE, skip  # noqa: E402
from liar_kit import run  # noqa: E402

try:
    from prometheus_client.openmetrics import parser
except ImportError:
    parser = None

USED = {"cpu_usec": 2500000, "memory_private": 4096, "memory_shared": 8192, "disk_bytes": 65536}
READS = 1000


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def vm_of(mount, name):
    """When its machine answers."""
    deadline = time.monotonic() + PATIENCE
    while values(mount.path, name, "status")["state"] != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int(values(mount.path, name, "status")["vm"])


def values(*path):
    return dict(line.split(" ", 1) for line in read(*path).splitlines())


def samples(mount):
    """By name and sandbox."""
    found = {}
    for family in parser.text_string_to_metric_families(read(mount.path, "metrics")):
        for sample in family.samples:
            found[sample.name, sample.labels.get("sandbox", sample.labels.get("state"))] = sample
    return found


def make(mount, name, used):
    mount.sandbox(name)
    mount.used[vm_of(mount, name)] = used


def test_stats(mount):
    "stats has what vmctl says"
    make(mount, "demo", USED)
    told = values(mount.path, "demo", "stats")
    assert all(int(told[key]) == value for key, value in USED.items()), told
    assert told["forks"] == told["runs"] == "0", told


def test_stats_are_cheap(mount):
    "who reads stats a thousand times has vmctl asked now and then only"
    make(mount, "demo", USED)
    first = read(mount.path, "demo", "stats")
    for _ in range(READS):
        assert read(mount.path, "demo", "stats") == first
    assert 0 < mount.asked_for_use < READS / 5, mount.asked_for_use


def test_stats_are_fresh(mount):
    "and is told what is new soon"
    make(mount, "demo", USED)
    read(mount.path, "demo", "stats")
    mount.used[vm_of(mount, "demo")] = {**USED, "disk_bytes": 1 << 20}
    for _ in range(READS * 100):
        if values(mount.path, "demo", "stats")["disk_bytes"] == str(1 << 20):
            return
    raise AssertionError("never")


def test_metrics(mount):
    "metrics is OpenMetrics, and has every sandbox"
    assert samples(mount)["pffs_sandboxes", "ready"].value == 0
    make(mount, "one", USED)
    make(mount, "two", {**USED, "cpu_usec": 1})
    found = samples(mount)
    assert found["pffs_info", None].labels["engine"] == "kvm"
    assert found["pffs_sandboxes", "ready"].value == 2
    assert found["pffs_events_total", None].value == 4
    cpu = found["pffs_sandbox_cpu_seconds_total", "one"]
    assert cpu.value == 2.5 and cpu.labels["template"] == "default", cpu
    assert cpu.labels["id"] == values(mount.path, "one", "status")["id"]
    assert found["pffs_sandbox_cpu_seconds_total", "two"].value == 1e-6
    for name, value in (("memory_private_bytes", 4096), ("memory_shared_bytes", 8192),
                        ("disk_bytes", 65536), ("forks", 0), ("runs", 0)):
        assert found["pffs_sandbox_" + name, "one"].value == value, name
    os.rmdir(mount.path + "/one")
    assert ("pffs_sandbox_runs", "one") not in samples(mount)


def write(mount, name, key, value):
    with open(os.path.join(mount.path, name, "config", key), "w", encoding="utf-8") as file:
        file.write(str(value))


def limits_in(mount, name):
    told, found = values(mount.path, name, "stats"), samples(mount)
    stats = [int(told[key]) for key in ("memory_limit", "disk_limit", "pids_limit", "cpu_limit")]
    shown = [found["pffs_sandbox_" + key, name].value
             for key in ("memory_limit_bytes", "disk_limit_bytes", "cpu_limit_cores")]
    pids = found.get(("pffs_sandbox_pids_limit", name))
    assert shown == stats[:2] + [stats[3] / 100], (stats, shown)
    assert (pids.value if pids else 0) == stats[2], (stats, pids)
    return stats


def test_limits(mount):
    "both have the limits beside what is used, and what they became"
    make(mount, "demo", USED)
    make(mount, "other", USED)
    size = [512 << 20, 4096 << 20, 0, 200]
    assert limits_in(mount, "demo") == size, limits_in(mount, "demo")
    for key, value in ("memory_mib", 100), ("disk_mib", 64), ("pids", 50), ("cpu_percent", 150):
        write(mount, "demo", key, value)
    assert limits_in(mount, "demo") == [100 << 20, 64 << 20, 50, 150], limits_in(mount, "demo")
    write(mount, "demo", "vcpus", 1)
    assert limits_in(mount, "demo")[3] == 100
    assert limits_in(mount, "other") == size


test_limits.options = ["--vcpus", "2"]


def test_no_answer(mount):
    "a machine that does not say what it uses keeps nobody waiting, and others are told of"
    make(mount, "demo", USED)
    make(mount, "mute", None)
    try:
        read(mount.path, "mute", "stats")
        raise AssertionError("it was told")
    except OSError as error:
        assert error.errno == errno.EIO, error
    assert "does not say" in read(mount.path, "mute", "error")
    found = samples(mount)
    assert ("pffs_sandbox_runs", "demo") in found
    assert ("pffs_sandbox_runs", "mute") not in found
    assert found["pffs_sandboxes", "ready"].value == 2


if not parser:
    sys.exit(skip("python3-prometheus-client is not there"))
run(globals())
