#!/usr/bin/python3
"""What is in the way of a mount that begins: it begins all the same."""
import ctypes
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from world import in_thread, join, main, wait  # noqa: E402

PIDFD_GETFD = 438  # pidfd_getfd(2)
WRITES = 0.5  # seconds that the process that a pffs has left goes on


def borrow(pid, file):
    """Descriptors of all that a process has open of that name."""
    process = os.pidfd_open(pid)
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{name}") != file:
                continue
        except FileNotFoundError:
            continue  # closed meanwhile
        found.append(ctypes.CDLL(None).syscall(PIDFD_GETFD, process, int(name), 0))
    os.close(process)
    assert found and min(found) >= 0, (file, found)
    return found


def let_go(fds):
    time.sleep(WRITES)
    for fd in fds:
        os.close(fd)


def mount_again(world, file):
    """pffs is killed, and something that it has begun holds that file for a while."""
    held = borrow(world.pffs.pid, file)
    world.pffs.kill()
    world.pffs.wait()
    holder = in_thread(let_go, held)
    world.start_pffs()
    join([holder])
    assert world.pffs.poll() is None, world.said()[-600:]
    wait(lambda: world.status("box")["state"] == "ready")
    assert world.run("box", "print(n)") == ("7\n", 0)


def test_mount_held(world):
    "a pffs that was killed has left a process that has its mount open: the next one mounts"
    world.make("box")
    world.run("box", "n = 7")
    mount_again(world, "/dev/fuse")


def test_lock_held(world):
    "likewise with the lock of its state directory: the next one has its sandboxes"
    world.make("box")
    world.run("box", "n = 7")
    mount_again(world, os.path.join(world.state, "sandboxes", "lock"))


main(globals())
