#!/usr/bin/python3
"""vmctl is killed, with pffs: the next mount finds all machines, and their runs."""
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from world import broker_kit, main, read, wait, within  # noqa: E402


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def begin(world, name, code):
    with within():
        with open(world.at(name, "exec"), "w", encoding="utf-8") as file:
            file.write(code)


def answers(world):
    try:
        broker_kit.Client(world.socket).close()
        return True
    except OSError:
        return False


def restart(world):
    """As a user does it. The socket of the dead vmctl is there."""
    world.start_vmctl()
    wait(answers, world)
    world.start_pffs()


def test_both(world):
    "pffs and vmctl are killed, twice: runs have gone on, and all they said is there"
    for number in range(2):
        name = f"box{number}"
        world.make(name)
        world.run(name, f"n = {number}")
        begin(world, name, "slowly(3000)\nprint('begun')")
        wait(lambda box=name: "line 9\n" in read(world.at(box, "output")))
        pid = world.status(name)["pid"]
        kill(world.pffs)
        kill(world.vmctl)
        restart(world)
        wait(lambda box=name: world.status(box)["state"] in ("running", "ready"))
        assert world.status(name)["pid"] == pid
        with within():
            lines = read(world.at(name, "stdout")).splitlines()
        assert lines == ["begun"] + [f"line {i}" for i in range(3000)], (len(lines), lines[:3])
        assert world.run(name, "print(n)") == (f"{number}\n", 0)


def test_forks(world):
    "forks that there were are there, and know what they knew"
    world.make("box")
    world.run("box", "n = 7")
    for name in ("a", "b", "c"):
        world.make(f"box/forks/{name}")
    before = sorted(os.listdir(world.at("box", "forks")))
    kill(world.pffs)
    kill(world.vmctl)
    restart(world)
    assert sorted(os.listdir(world.at("box", "forks"))) == before
    for fork in set(before) - {".n"}:
        path = os.path.join("box", "forks", fork)
        wait(lambda box=path: world.status(box)["state"] != "starting")
        assert world.status(path)["state"] == "ready", world.status(path)
        assert world.run(path, "print(n)") == ("7\n", 0)
    with within():
        os.mkdir(world.at("box", "forks", "another"))
    assert world.run("box/forks/another", "print(n)") == ("7\n", 0)



main(globals())
