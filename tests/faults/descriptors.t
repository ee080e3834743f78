#!/usr/bin/python3
"""pffs, and vmctl, that may have few descriptors: what there is goes on, what is too much is
refused with a sentence, and when something has gone there is room again. pffs itself needs
one for each sandbox only that it outlives pffs: one that has none says so, and works.
"""
import errno
import os
import resource
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from world import World, main, read, wait, within  # noqa: E402

MOST = 150  # sandboxes; more than any of the limits has room for
REFUSED = (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM)


def limit(process, count):
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (count, count))


def make_all(world):
    """As many as can be. Return: their names, and what the next one met."""
    made = []
    while len(made) < MOST:
        try:
            with within():
                os.mkdir(world.at(f"box{len(made)}"))
        except OSError as error:
            assert error.errno in REFUSED, error
            assert len(read(world.at("error"))) > 10, "and nothing is said"
            return made, error
        made.append(f"box{len(made)}")
    return made, None


def all_work(world, names):
    for name in names:
        assert world.run(name, f"name = '{name}'\nprint(name)") == (name + "\n", 0)


def fork_or_not(world, name):
    """A fork that is refused is refused as a sandbox is."""
    try:
        with within():
            os.mkdir(world.at(name, "forks/x"))
    except OSError as error:
        assert error.errno in REFUSED, error
        assert len(read(world.at(name, "error"))) > 10, "and nothing is said"
        return
    assert world.run(name + "/forks/x", "print(name)") == (name + "\n", 0)
    with within():
        os.rmdir(world.at(name, "forks/x"))


def walk(world, process, count):
    world.make("first")
    world.remove("first")
    before = world.holds()
    limit(process, count)
    made, refused = make_all(world)
    assert process == world.vmctl or "is lost when pffs is killed" in read(world.at(made[-1], "error"))
    assert process == world.pffs or refused, "there is room for all of them"
    all_work(world, made)
    fork_or_not(world, made[0])
    half = made[:len(made) // 2]
    for name in half:
        world.remove(name)
    wait(lambda: len(world.machines()) == len(made) - len(half))
    for name in half[:-1]:
        world.make(name)
    all_work(world, half[:-1] + made[len(half):])
    for name in half[:-1] + made[len(half):]:
        world.remove(name)
    assert (process.poll(), world.said().count("mounted")) == (None, 1)
    wait(lambda: world.holds() == before)


def test_pffs_64(world):
    "pffs with 64 descriptors: all that is asked for is there, and says what it lacks"
    walk(world, world.pffs, 64)


def test_pffs_128(world):
    "pffs with 128 descriptors, likewise"
    walk(world, world.pffs, 128)


# To limit another user's process takes CAP_SYS_RESOURCE, which a container's root may lack.
test_pffs_64.options = test_pffs_128.options = {"arguments": ("--user", "root")}


def test_vmctl_64(world):
    "vmctl with 64 descriptors: mkdir is refused, what there is goes on, and there is room again"
    walk(world, world.vmctl, 64)


def test_vmctl_128(world):
    "vmctl with 128 descriptors, likewise"
    walk(world, world.vmctl, 128)


main(globals())
