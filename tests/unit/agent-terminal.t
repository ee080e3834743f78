#!/usr/bin/env python3
"""Terminals: a native agent opens them as it does in a guest."""

import os
import re
import signal
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from agent_kit import *


def close(terminal):
    terminal.agent.send(TERMINAL_CLOSE, terminal.stream)


def number(terminal, pattern):
    terminal.wait(lambda t: re.search(pattern + rb"(\d+)\r\n", t.out))
    return int(re.search(pattern + rb"(\d+)\r\n", terminal.out).group(1))


@test
def what_is_typed_is_run_and_shown(agent):
    terminal = agent.terminal()
    terminal.send(b"echo $((6*7))-is-it; tty; echo $TERM; pwd\n")
    terminal.wait_out(b"42-is-it\r\n")
    terminal.wait_out(b"/dev/pts/")
    terminal.wait_out(b"xterm-256color\r\n")
    terminal.wait_out((b"/root" if os.access("/root", os.X_OK) else b"/") + b"\r\n")
    terminal.send(b"exit 7\n")
    same(terminal.wait().code, 7)
    close(terminal)


@test
def a_size_is_told(agent):
    terminal = agent.terminal("trap 'exit 9' INT; trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done", 30, 100)
    terminal.wait_out(b"30 100\r\n")
    agent.send(TERMINAL_SIZE, terminal.stream, struct.pack("<HH", 50, 132))
    terminal.wait_out(b"50 132\r\n")
    terminal.send(b"\x03")
    same(terminal.wait().code, 9)
    close(terminal)


@test
def control_c_interrupts_and_control_d_ends(agent):
    terminal = agent.terminal()
    # who says so has the terminal: a ^C is for it
    terminal.send(b"sh -c 'echo on-$((1+1)); exec sleep 1000'\n").wait_out(b"on-2\r\n")
    terminal.send(b"\x03").send(b"echo code $?\n").wait_out(b"code 130\r\n")
    terminal.send(b"(exit 3); echo code $?; (exit 3)\n")
    terminal.wait(lambda t: re.search(rb"code 3\r\n.*[#$] $", t.out, re.S))
    terminal.send(b"\x04")  # to the line editor, which has the terminal now
    same(terminal.wait().code, 3)
    close(terminal)


@test
def all_that_was_shown_comes_before_the_end(agent):
    for count in (1, 1000, 5000, 100000) * 2:
        left = "sleep 1000 & " if count > 1000 else ""
        terminal = agent.terminal("%s exec seq %d" % (left, count)).wait()
        want = b"".join(b"%d\r\n" % i for i in range(1, count + 1))
        same((len(terminal.out), terminal.out[-20:]), (len(want), want[-20:]))
        close(terminal)


@test
def bytes_in_are_bytes_out(agent):
    data = os.urandom(200000)
    terminal = agent.terminal("stty raw -echo; echo go; head -c %d | sha256sum | cut -c1-64" % len(data))
    terminal.wait_out(b"go")
    sent = 0
    while sent < len(data):
        room = 65536 - (sent - terminal.taken)
        if not room:
            terminal.wait(lambda t: t.taken > sent - 65536)
            continue
        terminal.send(data[sent : sent + min(room, 16384)])
        sent += len(data[sent : sent + min(room, 16384)])
    terminal.wait()
    import hashlib

    same(terminal.out.split()[1], hashlib.sha256(data).hexdigest().encode())
    same(terminal.taken, len(data))
    close(terminal)


@test
def a_close_is_a_hangup(agent):
    with tempfile.TemporaryDirectory() as d:
        terminal = agent.terminal("trap 'echo hup > %s/said; exit' HUP; echo on; while :; do sleep 0.05; done" % d)
        terminal.wait_out(b"on")
        close(terminal)
        deadline = time.monotonic() + PATIENCE
        while not os.path.exists(d + "/said") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert os.path.exists(d + "/said")


@test
def who_ignores_a_hangup_is_killed(agent):
    terminal = agent.terminal("trap '' HUP; echo pid $$; while :; do sleep 0.05; done")
    pid = number(terminal, rb"pid ")
    close(terminal)
    assert gone(pid)


@test
def what_a_shell_left_is_killed_at_the_close(agent):
    # In another session it would need the guest's cgroups.
    terminal = agent.terminal("trap '' HUP; sleep 1000 & echo pid $!")
    pid = number(terminal, rb"pid ")
    terminal.wait()
    assert os.path.exists("/proc/%d" % pid)
    close(terminal)
    assert gone(pid)


@test
def what_a_shell_left_may_go_on_writing(agent):
    with tempfile.TemporaryDirectory() as d:
        terminal = agent.terminal("trap '' HUP; (until [ -e %s/go ]; do sleep 0.05; done; head -c 300000 /dev/zero;"
                                  " echo > %s/said) & echo on" % (d, d)).wait()
        open(d + "/go", "w").close()
        deadline = time.monotonic() + PATIENCE
        while not os.path.exists(d + "/said") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert os.path.exists(d + "/said")
        same(terminal.out, b"on\r\n")
        close(terminal)


@test
def terminals_and_runs_do_not_meet(agent):
    one, two = agent.terminal(), agent.terminal()
    flood = agent.terminal("yes flood")
    flood.wait(lambda t: len(t.out) > 300000)
    one.send(b"echo one-$((1+1))\n")
    two.send(b"echo two-$((2+2))\n")
    same_run(agent.python("print('run')"), b"run\n")
    one.wait_out(b"one-2\r\n")
    two.wait_out(b"two-4\r\n")
    assert b"two-4" not in one.out and b"one-2" not in two.out
    agent.bash("kill -9 $$")
    one.send(b"echo still-$((3+3))\n").wait_out(b"still-6\r\n")
    flood.send(b"\x03")
    same(flood.wait().code, 130)
    for terminal in (one, two, flood):
        close(terminal)


@test
def a_bad_host_is_not_followed(agent):
    agent.send(TERMINAL, TERMINALS | 999, b"\0")
    agent.send(STDIN, TERMINALS | 999, b"x")
    agent.send(TERMINAL_SIZE, TERMINALS | 999, b"")
    agent.send(TERMINAL_CLOSE, TERMINALS | 999)
    terminal = agent.terminal()
    agent.send(TERMINAL_SIZE, terminal.stream, b"abc")
    agent.send(TERMINAL, terminal.stream, struct.pack("<HHI", 1, 1, 0))
    terminal.send(b"exit 4\n")
    same(terminal.wait().code, 4)
    close(terminal)


@test
def closed_terminals_leave_nothing(agent):
    agent.bash("true")
    until(lambda: open_files(agent) == 3 + 6, "descriptors are left")  # as after runs
    same(agent.late, [])


main()
