#!/usr/bin/python3
"""pffs, or vmctl and pffs, are killed at random moments under load, now and then pffs also
while it starts: the next one has all that was acknowledged, once, what was not is there or is
not, and nothing hangs or leaks. With PFFS_SEED=N choices of an earlier time are taken again.
"""
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from world import LIMIT, Late, World, in_thread, join, main, open_files, read, wait, within  # noqa: E402
from told import Box  # noqa: E402

LONG = os.environ.get("PFFS_LONG") == "1"
ROUNDS = int(os.environ.get("PFFS_KILL_ROUNDS", "1000" if LONG else "100"))  # of each test
BOXES = 4
MOST_LOAD = 0.15  # seconds of it before a kill


class Mortal(World):
    """One whose pffs can be killed."""

    def kill_pffs(self):
        self.pffs.kill()
        self.pffs.wait()

    def kill_both(self):
        """vmctl, in the middle of things, and a pffs that does not see that any more."""
        self.pffs.send_signal(signal.SIGSTOP)
        time.sleep(random.random() * 0.01)
        self.vmctl.kill()
        self.vmctl.wait()
        self.kill_pffs()
        os.unlink(self.socket)
        self.start_vmctl()

    def begin_pffs(self, patience):
        """A pffs that has so many seconds to begin before it is killed as well."""
        killer = in_thread(lambda: (time.sleep(patience), self.pffs.kill()))
        self.start_pffs()
        join([killer])
        self.kill_pffs()

    def files(self):
        """All that it has on disk."""
        found = []
        for at, directories, names in os.walk(self.work):
            directories[:] = [name for name in directories if os.path.join(at, name) != self.path]
            found += [os.path.join(at, name) for name in names]
        return sorted(found)

    def processes(self):
        """All that log where this world does."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/fd/2") == self.log.name:
                    found.append(int(pid))
            except OSError:
                pass  # it has ended
        return found

    def leaves(self):
        """What there is, which is to be the same again when nobody is there."""
        return self.files(), len(self.processes()), open_files(self.pffs.pid), open_files(self.vmctl.pid)


def kill_and_mount(world, boxes, kill):
    """Load, the end of a pffs, perhaps of several, and one that stays."""
    workers = [in_thread(box.work) for box in boxes]
    time.sleep(random.random() * MOST_LOAD)
    kill(world)
    join(workers)
    while random.random() < 0.2:
        world.begin_pffs(random.random() * 0.1)
    world.start_pffs()
    assert world.pffs.poll() is None, "pffs could not be started"


def check(world, boxes):
    with within(60):
        listed = {name for name in os.listdir(world.path) if name.startswith("box")}
        for box in boxes:
            assert box.wrong is None, f"{box.name}: {box.wrong!r}"
            box.settle(listed)
        assert listed == {box.name for box in boxes}, (listed, [box.name for box in boxes])
        for box in boxes:
            box.check()


def rounds(world, kill):
    boxes = [Box(world, i, random.random()) for i in range(BOXES)]
    for box in boxes:
        box.make()
    for number in range(ROUNDS):
        try:
            kill_and_mount(world, boxes, kill)
            check(world, boxes)
        except (Late, AssertionError, OSError) as error:
            raise AssertionError(f"round {number}: {type(error).__name__} {error}\n"
                                 f"{world.said()[-2000:]}") from None
    for box in boxes:
        box.remove()


def settled(world):
    """What there is when it has been the same for a while: what ends, ends a little later."""
    deadline, since, last = time.monotonic() + LIMIT, time.monotonic(), world.leaves()
    while time.monotonic() < since + 0.5:
        assert time.monotonic() < deadline, "it does not settle"
        time.sleep(0.05)
        now = world.leaves()
        if now != last:
            since, last = time.monotonic(), now
    return last


def walk(world, kill):
    """@kill: what is done to @world in each round; pffs has ended then."""
    seed = int(os.environ.get("PFFS_SEED", random.randrange(1 << 32)))
    random.seed(seed)
    world.make("first")
    world.remove("first")
    world.holds()
    before = settled(world)
    try:
        rounds(world, kill)
        wait(lambda: world.leaves() == before)
    except Exception as error:
        raise AssertionError(f"PFFS_SEED={seed}: {error}\nthere is {world.leaves()}, was {before}") from None


def test_pffs(world):
    "pffs killed at random moments: nothing acknowledged is lost, or comes twice, and nothing leaks"
    walk(world, Mortal.kill_pffs)


def test_both(world):
    "vmctl killed at random moments, and pffs: likewise"
    walk(world, Mortal.kill_both)


main(globals(), Mortal)
