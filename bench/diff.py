#!/usr/bin/env python3
"""What it costs to find a few changed files in a large tree, against hashing both trees.

Run it by `make bench`, or under tests/mount/setup. docs/benchmarks.md says what each row
means.
"""
import argparse
import os
import statistics
import subprocess
import sys
import time

SKIP = 77
WAIT = 900  # seconds that any one step may take
TREE = "/root/tree"
MAKE = """
import os
for i in range(%d):
    if i %% 100 == 0:
        os.makedirs("%s/%%d" %% (i // 100))
    with open("%s/%%d/%%d" %% (i // 100, i), "w") as file:
        file.write("%%d\\n" %% i * 50)
"""
CHANGE = """
for i in range(0, %d, %d):
    with open("%s/%%d/%%d" %% (i // 100, i), "r+") as file:
        file.write("x")
"""
LINK = "open('/root/one', 'w').close(); import os; os.link('/root/one', '/root/two')"
UNLINK = "os.remove('/root/one'); os.remove('/root/two')"
HASH = "cd %s && find . -type f -print0 | sort -z | xargs -0 sha256sum\n" % TREE


def cat(path):
    return subprocess.run(["cat", path], stdout=subprocess.PIPE, check=True, timeout=WAIT).stdout


def run(sandbox, code, file="exec"):
    with open(os.path.join(sandbox, file), "w", encoding="utf-8") as out:
        out.write(code)
    output = cat(os.path.join(sandbox, "stdout"))
    if cat(os.path.join(sandbox, "exit")) != b"0\n":
        sys.exit("bench: %s: %s" % (sandbox, cat(os.path.join(sandbox, "stderr")).decode()))
    return output


def timed(action, *args):
    start = time.monotonic()
    result = action(*args)
    return result, time.monotonic() - start


def row(name, seconds, note=""):
    print("%-52s %10.1f ms  %s" % (name, seconds * 1000, note), flush=True)


def runs(sandbox, rounds):
    """The time from writing an empty run to its exit, and of one right behind another."""
    times = []
    for _ in range(rounds):
        times.append(timed(run, sandbox, "pass")[1])
        cat(os.path.join(sandbox, "last/changes"))
    return statistics.median(times)


def hashes(one, other):
    left, right = (run(sandbox, HASH, "bash").splitlines() for sandbox in (one, other))
    return sorted({line.split(b"  ", 1)[1] for line in set(left) ^ set(right)})


def measure(files, changed, rounds):
    os.mkdir("bench-diff")
    run("bench-diff", "pass")
    row("a run that does nothing", runs("bench-diff", rounds))
    _, took = timed(run, "bench-diff", MAKE % (files, TREE, TREE))
    row("making %d files, in the guest" % files, took)
    _, took = timed(cat, "bench-diff/last/changes")
    row("then reading runs/N/changes", took)
    row("a run that does nothing, with that many files", runs("bench-diff", rounds))
    os.mkdir("bench-diff/forks/a")
    run("bench-diff/forks/a", CHANGE % (files, files // changed, TREE))
    listed, fast = timed(cat, "bench-diff/diff/a")
    row("diff/a, where %d files differ" % changed, fast)
    run("bench-diff/forks/a", LINK)
    _, slow = timed(cat, "bench-diff/diff/a")
    row("the same, with all files looked at", slow, "%.1f times as long" % (slow / fast))
    run("bench-diff/forks/a", UNLINK)
    hashed, slow = timed(hashes, "bench-diff", "bench-diff/forks/a")
    row("sha256sum over both trees", slow, "%.1f times as long" % (slow / fast))
    _, took = timed(cat, "bench-diff/diff/a.patch")
    row("diff/a.patch", took)
    if len(listed.splitlines()) != changed or len(hashed) != changed:
        sys.exit("bench: %d files differ, or %d, of %d"
                 % (len(listed.splitlines()), len(hashed), changed))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50000)
    parser.add_argument("--changed", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    if "PFFS_TEST_MOUNT" not in os.environ:
        print("bench: " + os.environ.get("PFFS_TEST_SKIP", "run me under tests/mount/setup"))
        sys.exit(SKIP)
    os.chdir(os.environ["PFFS_TEST_MOUNT"])
    try:
        measure(options.files, options.changed, options.rounds)
    finally:
        for path in ("bench-diff/forks/a", "bench-diff"):
            if os.path.isdir(path):
                os.rmdir(path)


main()
