#!/usr/bin/python3
"""pffs is killed: what goes on with the machines is there when the next one has come."""
import contextlib
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from world import broker_kit, in_thread, join, main, read, values, wait, within  # noqa: E402


def kill_pffs(world):
    world.pffs.kill()
    world.pffs.wait()


def restart(world):
    kill_pffs(world)
    world.start_pffs()


def names(world):
    """Of all machines."""
    client = broker_kit.Client(world.socket)
    vms = client.request("list")["vms"]
    client.close()
    return sorted(vm["name"] for vm in vms)


def print_n(world, sandbox):
    return world.run(sandbox, "print(n)")


def try_rename(old, new):
    with contextlib.suppress(OSError):
        os.rename(old, new)


def make_warm(world):
    """A template of a sandbox in which n is 41."""
    world.make("first")
    world.run("first", "n = 41")
    with within():
        os.rename(world.at("first"), world.at("templates/warm"))


def test_template(world):
    "a template made of a sandbox is there, with all that it knew"
    make_warm(world)
    info = values(world.at("templates/warm/info"))
    world.make("templates/warm/forks/a")
    assert print_n(world, "templates/warm/forks/a") == ("41\n", 0)
    for _ in range(2):
        restart(world)
        assert "warm" in os.listdir(world.at("templates")), os.listdir(world.at("templates"))
        assert values(world.at("templates/warm/info")) == info
    assert set(os.listdir(world.at("templates/warm/forks"))) - {".n"} == {"a"}
    assert world.status("templates/warm/forks/a")["template"] == "warm"
    world.make("templates/warm/forks/b")
    assert print_n(world, "templates/warm/forks/b") == ("41\n", 0)
    assert names(world).count("first") == 1, names(world)
    world.remove("templates/warm/forks/a")
    world.remove("templates/warm/forks/b")
    world.remove("templates/warm")
    wait(lambda: "first" not in names(world))
    restart(world)
    assert "warm" not in os.listdir(world.at("templates"))


def test_template_lost(world):
    "one whose machine has ended says so"
    make_warm(world)
    kill_pffs(world)
    client = broker_kit.Client(world.socket)
    for vm in client.request("list")["vms"]:
        if vm["name"] == "first":
            client.request("destroy", vm=vm["vm"])
    client.close()
    world.start_pffs()
    for _ in range(2):
        try:
            with within():
                os.mkdir(world.at("templates/warm/forks/a"))
            raise AssertionError("a sandbox was made of it")
        except OSError as error:
            assert error.errno == 5, error
        restart(world)
    world.remove("templates/warm")


def test_template_half(world):
    "killed while a sandbox becomes a template, it is that sandbox"
    world.make("first")
    world.run("first", "n = 41")
    vm = int(world.status("first")["pid"])
    os.kill(vm, signal.SIGSTOP)
    renaming = in_thread(try_rename, world.at("first"), world.at("templates/warm"))
    wait(lambda: world.status("first")["state"] == "frozen")
    kill_pffs(world)
    os.kill(vm, signal.SIGCONT)
    join([renaming])
    world.start_pffs()
    assert "warm" not in os.listdir(world.at("templates"))
    assert print_n(world, "first") == ("41\n", 0)
    world.remove("first")


def test_fork_point(world):
    "the fork point of forks is there until the last has gone"
    world.make("demo")
    world.run("demo", "n = 41")
    with within():
        os.mkdir(world.at("demo/forks/x"))
        os.mkdir(world.at("demo/forks/y"))
    assert names(world).count("demo-twin") == 2, names(world)
    restart(world)
    wait(lambda: world.status("demo/forks/y")["state"] == "ready")
    assert names(world).count("demo-twin") == 2, names(world)
    with within():
        assert read(world.at("demo/forks/x/changes")) == ""
    restart(world)
    with within():
        assert read(world.at("demo/forks/x/changes")) == ""
    world.remove("demo/forks/x")
    wait(lambda: names(world).count("demo-twin") == 1)
    restart(world)
    os.rename(world.at("demo/forks/y"), world.at("y"))
    world.remove("demo")
    restart(world)
    assert print_n(world, "y") == ("41\n", 0)
    assert names(world).count("demo-twin") == 1, names(world)
    world.remove("y")
    wait(lambda: "demo-twin" not in names(world))
    assert sorted(os.listdir(os.path.join(world.state, "sandboxes"))) == ["ca.pem", "lock"]


main(globals())
