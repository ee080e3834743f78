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
    except (OSError, broker_kit.Closed):
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



def another(world):
    kill(world.vmctl)
    world.start_vmctl()
    wait(answers, world)


def test_runs(world):
    "vmctl alone is killed, ten times, under a run that streams: its reader gets all, once"
    world.make("box")
    world.run("box", "n = 3")
    begin(world, "box", "slowly(4000, 100)")
    with within(60), open(world.at("box", "stdout"), encoding="utf-8") as stream:
        for _ in range(10):
            for _ in range(150):
                stream.readline()
            another(world)
        rest = stream.read()
    assert rest.endswith("line 3999".ljust(99) + "\n"), (rest[-200:], world.status("box"), world.said()[-600:])
    lines = [line.strip() for line in read(world.at("box", "runs/2/stdout")).splitlines()]
    assert lines == [f"line {i}" for i in range(4000)], len(lines)
    assert read(world.at("box", "exit")) == "0\n", read(world.at("box", "runs/2/exit"))
    assert world.run("box", "print(n)") == ("3\n", 0), world.status("box")


def test_goes_on(world):
    "what is asked while there is no vmctl is done when there is one again"
    world.make("box")
    world.run("box", "n = 4")
    world.make("box/forks/a")
    pid = world.status("box")["pid"]
    kill(world.vmctl)
    begin(world, "box", "print(n)")
    begin(world, "box/forks/a", "print(n + 1)")
    world.start_vmctl()
    with within():
        assert read(world.at("box", "stdout")) == "4\n"
        assert read(world.at("box/forks/a", "stdout")) == "5\n"
    assert world.status("box")["pid"] == pid
    with within():
        os.mkdir(world.at("box/forks/b"))
    assert world.run("box/forks/b", "print(n)") == ("4\n", 0)
    assert '"attached"' in read_events(world, "box")


def read_events(world, name):
    with open(world.at(name, "events"), "rb") as events:
        os.set_blocking(events.fileno(), False)
        return (events.read(1 << 20) or b"").decode()


main(globals())
