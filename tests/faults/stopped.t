#!/usr/bin/python3
"""The process of a machine is stopped: what is known of it and of all others is told at
once, and it goes on where it was.
"""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from world import in_thread, join, main, read, wait, within  # noqa: E402

PROMISE = 0.05  # seconds for what needs no machine
ROUNDS = 200
LINES = 100000  # a second and more: they come as fast as they can


def took(call, *arguments):
    """Seconds; the best of some, if the host itself had something else to do."""
    best = float("inf")
    for _ in range(8):
        begun = time.monotonic()
        call(*arguments)
        best = min(best, time.monotonic() - begun)
        if best < PROMISE:
            break
    return best


def look(world, name):
    """Seconds that the slowest of all looks at a sandbox takes."""
    path = world.at(name)
    slowest = max(took(os.listdir, world.path), took(os.listdir, path), took(os.stat, path))
    for entry in os.listdir(path):
        slowest = max(slowest, took(os.lstat, os.path.join(path, entry)))
    for file in ("status", "error", "runs/1/status", "runs/1/stdout", "config/exec_timeout"):
        slowest = max(slowest, took(read, path, file))
    return max(slowest, took(os.listdir, os.path.join(path, "runs")))


def test_stopped(world):
    "a machine's process is stopped: what is known of all is told within 50 ms"
    for name in ("stopped", "other"):
        world.make(name)
        assert world.run(name, "n = 41\nprint(n)") == ("41\n", 0)
    with open(world.at("stopped", "exec"), "w", encoding="utf-8") as file:
        file.write(f"slowly({LINES})")
    wait(lambda: world.status("stopped")["state"] == "running")
    pid = int(world.status("stopped")["pid"])
    os.kill(pid, signal.SIGSTOP)
    reader = in_thread(read, world.at("stopped", "exit"))
    slowest = 0
    try:
        with within(60):
            for _ in range(ROUNDS):
                slowest = max(slowest, look(world, "stopped"), look(world, "other"))
        assert world.status("stopped")["state"] == "running"
        assert world.run("other", "print(n + 1)") == ("42\n", 0)
        with within():  # what is for the machine waits there, and keeps nobody
            with open(world.at("stopped", "bash"), "w", encoding="utf-8") as file:
                file.write("true")
            os.mkdir(world.at("another"))
        assert slowest < PROMISE, f"{slowest * 1000:.0f} ms"
    finally:
        os.kill(pid, signal.SIGCONT)
    join([reader], seconds=120)
    assert read(world.at("stopped", "runs/2/stdout")).count("\n") == LINES
    with within():
        assert read(world.at("stopped", "runs/2/exit")) == "0\n"


def test_removed(world):
    "one that is stopped can be removed, and its process ends"
    world.make("stopped")
    before = open_machines(world)
    os.kill(int(world.status("stopped")["pid"]), signal.SIGSTOP)
    world.remove("stopped")
    wait(lambda: open_machines(world) == before - 1)


def open_machines(world):
    return len(world.machines())


def test_forked(world):
    "a fork of one that is stopped fails in time, with a sentence, and then succeeds"
    world.make("stopped")
    pid = int(world.status("stopped")["pid"])
    os.kill(pid, signal.SIGSTOP)
    try:
        with within(30):
            os.mkdir(world.at("stopped", "forks", "x"))
        raise AssertionError("it was forked")
    except OSError:
        assert len(read(world.at("stopped", "error"))) > 10
    finally:
        os.kill(pid, signal.SIGCONT)
    with within():
        os.mkdir(world.at("stopped", "forks", "x"))
    with within():
        os.rmdir(world.at("stopped", "forks", "x"))


main(globals())
