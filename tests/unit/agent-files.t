#!/usr/bin/env python3
"""Requests about files through the guest's agent, beside its runs."""

import fcntl
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from agent_kit import *  # noqa: E402,F403
from agent_files_kit import *  # noqa: E402,F403


@test
def a_file_is_written_and_read(agent):
    data = os.urandom(IO_MAX)
    made = ask(agent, OPEN, "made", O_READ | O_WRITE | O_CREAT)
    same(made.error, 0)
    same(ask(agent, WRITE, handle=made.handle, data=data).value, IO_MAX)
    with open(path_of("made"), "rb") as file:
        same(file.read(), data)
    same(ask(agent, READ, handle=made.handle, size=IO_MAX).data, data)
    same(ask(agent, CLOSE, handle=made.handle).error, 0)
    same_run(agent.bash("wc -c < %s" % path_of("made")), b"262144\n")


@test
def sixty_four_reads_at_once_are_all_answered(agent):
    data = os.urandom(IN_FLIGHT * IO_MAX)
    with open(path_of("large"), "wb") as file:
        file.write(data)
    handle = ask(agent, OPEN, "large", O_READ).handle
    streams = [post(agent, READ, handle=handle, offset=i * IO_MAX, size=IO_MAX) for i in range(IN_FLIGHT)]
    for i, stream in enumerate(streams):
        assert reply_to(agent, stream).data == data[i * IO_MAX : (i + 1) * IO_MAX]
    ask(agent, CLOSE, handle=handle)


@test
def sixty_four_writes_at_once_are_all_done(agent):
    data = os.urandom(IN_FLIGHT * IO_MAX)
    handle = ask(agent, OPEN, "written", O_WRITE | O_CREAT).handle
    streams = [
        post(agent, WRITE, handle=handle, offset=i * IO_MAX, data=data[i * IO_MAX : (i + 1) * IO_MAX])
        for i in range(IN_FLIGHT)
    ]
    for stream in streams:
        same(reply_to(agent, stream).value, IO_MAX)
    with open(path_of("written"), "rb") as file:
        assert file.read() == data
    ask(agent, CLOSE, handle=handle)


@test
def one_request_too_many_is_refused(agent):
    pid = server_pid(agent)
    stop(pid)
    streams = [post(agent, LOOKUP, "made") for _ in range(IN_FLIGHT + 1)]
    same(reply_to(agent, streams[-1]).error, 16)  # EBUSY
    os.kill(pid, signal.SIGCONT)
    for stream in streams[:-1]:
        same(reply_to(agent, stream).error, 0)


@test
def a_flood_of_replies_leaves_runs_their_turn(agent):
    handle = ask(agent, OPEN, "large", O_READ).handle
    reads = [post(agent, READ, handle=handle, offset=i * IO_MAX, size=IO_MAX) for i in range(IN_FLIGHT)]
    run = agent.begin(BASH, "echo on").wait()
    left = [stream for stream in reads if stream not in agent.replies]
    same_run(run, b"on\n")
    for _ in range(20):
        reads += [post(agent, READ, handle=handle, size=IO_MAX) for _ in range(IN_FLIGHT - len(left))]
        run = agent.begin(BASH, "echo on").wait()
        same_run(run, b"on\n")
        left = [stream for stream in reads if stream not in agent.replies]
    for stream in reads:
        same(reply_to(agent, stream).error, 0)
    ask(agent, CLOSE, handle=handle)


@test
def a_change_is_told_before_the_output_behind_it(agent):
    os.mkdir(path_of("watched"))
    for i in range(50):
        watch = ask(agent, LIST, "watched", WATCH, size=IO_MAX).watch
        assert watch > 0
        del agent.order[:]
        run = agent.bash("echo %d > %s; echo done" % (i, path_of("watched/file")))
        same_run(run, b"done\n")
        assert FILES_CHANGED in agent.order, "no word of the change"
        assert agent.order.index(FILES_CHANGED) < agent.order.index(STDOUT), "output came first"


@test
def a_change_is_told_before_the_exit_behind_it(agent):
    ask(agent, LIST, "watched", WATCH, size=IO_MAX)
    del agent.order[:]
    agent.bash("echo > %s" % path_of("watched/file"))
    assert agent.order.index(FILES_CHANGED) < agent.order.index(EXIT), "the exit came first"


@test
def a_change_is_told_before_the_reply_behind_it(agent):
    ask(agent, LIST, "watched", WATCH, size=IO_MAX)
    count = agent.seen.count(FILES_CHANGED)
    with open(path_of("watched/file"), "w") as file:
        file.write("x")
    ask(agent, LOOKUP, "watched/file")
    assert agent.seen.count(FILES_CHANGED) > count, "the reply came first"


@test
def a_change_that_overtakes_its_watch_is_told_again(agent):
    name = path_of("watched/file")
    run = agent.begin(BASH, "for ((;;)); do echo > %s; done" % name)
    time.sleep(0.2)
    for _ in range(300):
        stream = post(agent, LIST, "watched", WATCH, size=IO_MAX)
        watch = reply_to(agent, stream).watch
        agent.pump(lambda: watch in agent.changed_after(stream))
    run.signal(KILL).wait()


@test
def a_server_that_was_killed_is_replaced(agent):
    handle = ask(agent, OPEN, "made", O_READ).handle
    ask(agent, LIST, "", WATCH, size=IO_MAX)
    pid = server_pid(agent)
    stop(pid)
    stream = post(agent, READ, handle=handle, size=9)
    agent.wait_read()  # or the next server is asked
    os.kill(pid, signal.SIGKILL)
    same(reply_to(agent, stream).error, 5)  # EIO
    agent.wait_changed(ALL)
    same(ask(agent, LOOKUP, "made").error, 0)
    assert server_pid(agent) not in (None, pid)
    same(ask(agent, READ, handle=handle, size=9).error, 9)  # EBADF
    other = ask(agent, OPEN, "made", O_READ).handle
    assert other != handle, "a number was used again"
    same(len(ask(agent, READ, handle=other, size=9).data), 9)


@test
def a_server_that_was_stopped_goes_on(agent):
    pid = server_pid(agent)
    stop(pid)
    same(ask(agent, LOOKUP, "made").error, 0)
    same(server_pid(agent), pid)


@test
def a_wake_ends_handles_and_what_was_asked(agent):
    handle = ask(agent, OPEN, "made", O_READ).handle
    pid = server_pid(agent)
    stop(pid)
    late = post(agent, READ, handle=handle, size=9)
    agent.wake(21)
    os.kill(pid, signal.SIGCONT)
    same(ask(agent, READ, handle=handle, size=9).error, 9)
    assert late not in agent.replies, "an answer to what the parent was asked"
    same(server_pid(agent), pid)
    fresh = ask(agent, OPEN, "made", O_READ).handle
    same(len(ask(agent, READ, handle=fresh, size=9).data), 9)


@test
def what_a_former_pffs_asked_is_not_the_answer_to_the_next_one(agent):
    with open(path_of("locked"), "w") as mine:
        fcntl.flock(mine, fcntl.LOCK_EX)
        handle = ask(agent, OPEN, "locked", O_READ | O_WRITE).handle
        late = post(agent, FLOCK, handle=handle, mode=2, flags=WAIT)
        same(ask(agent, LOOKUP, "made").error, 0)
        assert late not in agent.replies, "a lock of two"
        agent.send_wake(22)  # ends the wait; behind it comes the same number
        post(agent, GETATTR, "made", stream=late)
        reply = reply_to(agent, late)
        same((reply.error, reply.attr and reply.attr.size), (0, os.path.getsize(path_of("made"))))


@test
def what_is_no_request_is_refused(agent):
    agent.send(FILES, 77, b"\xff" * 30)
    same(reply_to(agent, 77).error, 71)  # EPROTO
    same(ask(agent, LOOKUP, "made").error, 0)


@test
def the_server_ends_with_the_agent(_):
    agent = Agent(root=root.name)
    agent.wait_seen(READY)
    pid = server_pid(agent)
    agent.end()
    assert gone(pid), "the server lives on"


main(root.name)
