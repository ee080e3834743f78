#!/usr/bin/python3
"""What is in the way of a mount that ends: it ends all the same."""
import ctypes
import os
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from world import in_thread, join, main, wait  # noqa: E402

SOON = 0.3  # seconds, in which who runs gets to what is held up


def children(pid, name):
    """Those of that name."""
    found = subprocess.run(["pgrep", "-P", str(pid), "-x", name], stdout=subprocess.PIPE, check=False)
    return [int(number) for number in found.stdout.split()]


def test_port(world):
    "it is unmounted while the socket of a port is made in it: pffs ends"
    world.make("box")
    binder, = children(world.pffs.pid, "pffs-binder")
    os.kill(binder, signal.SIGSTOP)
    join([in_thread(pathlib.Path(world.at("box", "net", "ports")).write_text, "8000\n")])  # then it is ordered, too
    world.pffs.send_signal(signal.SIGSTOP)
    os.kill(binder, signal.SIGCONT)
    wait(lambda: children(binder, "pffs-binder"))
    time.sleep(SOON)  # the process that makes the socket looks for the mount, and pffs does not answer
    assert ctypes.CDLL(None).umount2(world.path.encode(), 0) == 0  # umount(8) would ask pffs
    world.pffs.send_signal(signal.SIGCONT)
    wait(lambda: world.pffs.poll() is not None, seconds=20)
    assert world.pffs.returncode == 0, world.said()[-600:]


main(globals())
