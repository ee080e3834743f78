#!/usr/bin/python3
"""Machines that are killed at random moments under load: what was acknowledged is there,
what was not ends, nobody else notices, and nothing leaks.
"""
import errno
import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from world import in_thread, join, main, read, wait  # noqa: E402

ROUNDS = 200
BOXES = 5
LINES = 40  # of a run that takes its time
CHECKED = 50  # of the newest runs; a thousand are kept


class Box:
    """A sandbox, who works in it, and what it was told: the model."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.count = 0  # what its guest has counted to, as far as we know
        self.acknowledged = []  # (code, output) of each run that has ended well
        self.begun = None  # code of the run that was given to it last
        self.wrong = None
        self.forks = 0
        world.make(name)
        self.vm = int(world.status(name)["pid"])
        self.worker = in_thread(self.work)

    def path(self, *names):
        return self.world.at(self.name, *names)

    def step(self):
        """One run. Return: whether it ended well."""
        slow = random.random() < 0.3
        code = f"n = {self.count + 1}\nprint(n)\n" + (f"slowly({LINES})\n" if slow else "")
        wanted = f"{self.count + 1}\n" + "".join(f"line {i}\n" for i in range(LINES if slow else 0))
        self.begun = (code, wanted)
        with open(self.path("exec"), "w", encoding="utf-8") as file:
            file.write(code)
        if read(self.path("exit")) != "0\n":
            return False
        got = read(self.path("stdout"))
        assert got == wanted, (got, wanted)
        self.count += 1
        self.acknowledged.append((code, wanted))
        self.begun = None
        return True

    def fork(self):
        """A fork knows what its parent knew."""
        self.forks += 1
        fork = self.path("forks", str(self.forks))
        os.mkdir(fork)
        with open(os.path.join(fork, "exec"), "w", encoding="utf-8") as file:
            file.write("print(n)")
        assert read(fork, "stdout") == f"{self.count}\n", "a fork that knows something else"
        os.rmdir(fork)

    def work(self):
        """Until the machine has died under us."""
        try:
            while self.step():
                if random.random() < 0.1:
                    self.fork()
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EAGAIN):
                self.wrong = error
        except AssertionError as error:
            self.wrong = error

    def kill(self):
        """Its machine ends. What was acknowledged is there, and what was not has ended."""
        os.kill(self.vm, 9)
        join([self.worker])
        assert self.wrong is None, self.wrong
        wait(lambda: self.world.status(self.name)["state"] == "dead")
        reason = self.world.status(self.name)["reason"]
        assert "kill" in reason, reason
        for number, (code, output) in list(enumerate(self.acknowledged, 1))[-CHECKED:]:
            run = self.path("runs", str(number))
            assert (read(run, "code"), read(run, "stdout"), read(run, "exit")) == (code, output, "0\n")
        self.check_last()
        for fork in set(os.listdir(self.path("forks"))) - {".n"}:
            os.rmdir(self.path("forks", fork))
        self.world.remove(self.name)

    def check_last(self):
        """The run that was on its way may not have begun; it may have ended, too."""
        last = self.path("runs", str(len(self.acknowledged) + 1))
        if not self.begun or not os.path.exists(last):
            return
        code, wanted = self.begun
        assert code.startswith(read(last, "code")) and wanted.startswith(read(last, "stdout"))
        assert read(last, "exit") in ("137\n", "0\n") and "ended" in read(last, "status")


def test_machines(world):
    "machines killed 200 times: what was acknowledged is there, and nothing leaks"
    world.make("first")
    world.remove("first")
    before = world.holds()
    random.seed(7)
    boxes = [Box(world, f"box{i}") for i in range(BOXES)]
    for number in range(ROUNDS):
        time.sleep(random.random() * 0.05)
        i = random.randrange(BOXES)
        boxes[i].kill()
        boxes[i] = Box(world, f"box{BOXES + number}")
    for box in boxes:
        assert box.worker.is_alive(), "one stopped that nobody killed"
        box.kill()
    wait(lambda: world.holds() == before)


main(globals())
