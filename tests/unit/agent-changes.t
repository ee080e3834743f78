#!/usr/bin/env python3
"""What runs change, as the guest's agent tells it after their exit."""

import os
import signal
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from agent_kit import *  # noqa: E402,F403

root = tempfile.TemporaryDirectory()
image = tempfile.TemporaryDirectory()


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
        return [int(child) for child in file.read().split()]


def server_pid(agent):
    for pid in children(agent.process.pid):
        with open("/proc/%d/comm" % pid) as file:
            if file.read() == "pffs-files\n":
                return pid
    raise AssertionError("there is no file server")


@test
def a_run_tells_what_it_made_changed_and_removed(agent):
    run = agent.bash("cd %s; mkdir d; echo 1 > d/a; echo 2 > b" % root.name)
    same(run.changed(), [("A", b"b"), ("A", b"d"), ("A", b"d/a"), ("E",)])
    run = agent.bash("cd %s; rm b; echo 3 >> d/a; ln -s x $'d/new\\nline'" % root.name)
    same(run.changed(), [("D", b"b"), ("M", b"d/a"), ("A", b"d/new\nline"), ("E",)])
    same(agent.late, [])


@test
def the_repl_too(agent):
    run = agent.python("open(%r, 'w').write('x')" % os.path.join(root.name, "py"))
    same(run.changed(), [("A", b"py"), ("E",)])
    same(agent.python("1").changed(), [("E",)])


@test
def what_changes_between_runs_is_no_run_s(agent):
    with open(os.path.join(root.name, "between"), "w"):
        pass
    same(agent.bash(":").changed(), [("E",)])


@test
def the_exit_does_not_wait(agent):
    pid = server_pid(agent)
    run = agent.begin(BASH, "echo begun; read; echo x > %s/slow" % root.name, b"").wait_out(b"begun")
    stop(pid)
    run.send(b"\n").wait()
    same(run.changes, [])
    later = agent.begin(BASH, "echo y > %s/slow" % root.name)
    assert not agent.pump(lambda: later.started, 0.3), "the next run started before the look"
    os.kill(pid, signal.SIGCONT)
    same(run.changed(), [("A", b"slow"), ("E",)])
    same(later.wait().changed(), [("M", b"slow"), ("E",)])


@test
def one_that_never_starts_has_changed_nothing(agent):
    pid = server_pid(agent)
    stop(pid)
    run = agent.begin(BASH, "echo x > %s/never" % root.name)
    run.signal(KILL).wait()
    os.kill(pid, signal.SIGCONT)
    same(run.code, 137)
    same(run.changed(), [("E",)])


@test
def a_server_that_dies_leaves_it_unknown_and_runs_go_on(agent):
    run = agent.begin(BASH, "echo begun; read", b"").wait_out(b"begun")
    os.kill(server_pid(agent), signal.SIGKILL)
    run.send(b"\n").wait()
    same(run.changed(), [("U",)])
    same(agent.bash("echo > %s/again" % root.name).changed(), [("A", b"again"), ("E",)])


@test
def one_that_dies_while_a_run_waits_for_it_does_not_hold_it_up(agent):
    pid = server_pid(agent)
    stop(pid)
    run = agent.begin(BASH, "exit 7")
    agent.wait_read()  # or the next server is asked
    os.kill(pid, signal.SIGKILL)
    same(run.wait().code, 7)
    same(run.changed(), [("U",)])


@test
def runs_beside_each_other(agent):
    slow = agent.begin(BASH, "echo begun; read; echo > %s/one" % root.name, b"").wait_out(b"begun")
    same(agent.bash("echo > %s/two" % root.name).changed(), [("A", b"two"), ("E",)])
    slow.send(b"\n").wait()
    same(slow.changed(), [("A", b"one"), ("A", b"two"), ("E",)])


@test
def many_changes_come_in_many_frames(agent):
    run = agent.bash("cd %s; mkdir many; cd many; for ((i = 0; i < 3000; i++)); do > file-with-a-long-name-$i; done"
                     % root.name)
    same(len(run.changed()), 3002)
    same(len(set(run.changes)), 3002)


main(root.name, root.name, image.name)
