#!/usr/bin/env python3
"""Connections to ports of the guest: a native agent makes them as it does in a guest."""

import errno
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from agent_kit import *

WINDOW = 64 << 10  # what the agent takes
HOST_WINDOW = 128 << 10  # what the host takes


def listen(family=socket.AF_INET, address="127.0.0.1"):
    server = socket.socket(family, socket.SOCK_STREAM)
    server.settimeout(PATIENCE)
    server.bind((address, 0))
    server.listen(300)
    return server


def read(program, size):
    """Exactly so many bytes, unless the other end is done before."""
    data = b""
    while len(data) < size and (part := program.recv(size - len(data))):
        data += part
    return data


def open_one(agent, server):
    connection = agent.connect(server.getsockname()[1])
    program, _ = server.accept()
    program.settimeout(PATIENCE)
    same(connection.wait_opened().opened, 0)
    return connection, program


@test
def bytes_go_both_ways_and_each_direction_ends_by_itself(agent):
    with listen() as server:
        connection, program = open_one(agent, server)
        connection.send(b"a question", eof=True)
        same(read(program, 100), b"a question")
        program.sendall(b"an answer")
        connection.wait(lambda c: c.out == b"an answer")
        same((connection.eof, connection.closed, connection.taken), (False, False, 10))
        program.close()
        connection.wait(lambda c: c.closed)
        same(connection.eof, True)


@test
def the_program_can_end_first(agent):
    with listen() as server:
        connection, program = open_one(agent, server)
        program.sendall(b"welcome")
        program.shutdown(socket.SHUT_WR)
        connection.wait(lambda c: c.eof)
        same((connection.out, connection.closed), (b"welcome", False))
        connection.send(b"late", eof=True)
        same(read(program, 100), b"late")
        connection.wait(lambda c: c.closed)


@test
def what_is_sent_at_once_is_not_lost(agent):
    with listen() as server:
        for question in (b"", b"a question"):
            connection = agent.connect(server.getsockname()[1]).send(question, eof=True)
            program, _ = server.accept()
            program.settimeout(PATIENCE)
            same(read(program, 100), question)
            program.close()
            connection.wait(lambda c: c.closed)


@test
def nobody_listens(agent):
    with listen() as server:
        port = server.getsockname()[1]
    same(agent.connect(port).wait_opened().opened, errno.ECONNREFUSED)


@test
def who_listens_at_ipv6_alone_is_found(agent):
    with listen(socket.AF_INET6, "::1") as server:
        connection, program = open_one(agent, server)
        program.sendall(b"six")
        connection.wait(lambda c: c.out == b"six")
        connection.close()


@test
def a_program_that_floods_is_stopped_by_the_window(agent):
    with listen() as server:
        connection, program = open_one(agent, server)
        flood = threading.Thread(target=lambda: program.sendall(b"x" * 3_000_000))
        flood.start()
        connection.wait(lambda c: len(c.out) == HOST_WINDOW)
        same_run(agent.bash("echo still here"), b"still here\n")
        same(len(connection.out), HOST_WINDOW)
        while len(connection.out) < 3_000_000:
            size = len(connection.out)
            connection.room(min(HOST_WINDOW, 3_000_000 - size))
            connection.wait(lambda c: len(c.out) > size)
            if len(connection.out) - size < min(HOST_WINDOW, 3_000_000 - size):
                wanted = min(size + HOST_WINDOW, 3_000_000)
                connection.wait(lambda c: len(c.out) == wanted)
        flood.join()
        same(connection.out, b"x" * 3_000_000)
        connection.close()


@test
def a_program_that_reads_nothing_holds_nobody_up(agent):
    with listen() as server:
        connection, program = open_one(agent, server)
        sent = 0
        while agent.pump(lambda: sent - connection.taken + 16384 <= WINDOW, 1):
            connection.send(b"y" * 16384)
            sent += 16384
        same_run(agent.bash("echo still here"), b"still here\n")
        reader = threading.Thread(target=lambda: read(program, sent))
        reader.start()
        connection.wait(lambda c: c.taken == sent)
        reader.join()
        connection.close()


@test
def a_connection_that_breaks_is_told(agent):
    with listen() as server:
        connection, program = open_one(agent, server)
        program.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        program.close()
        connection.wait(lambda c: c.closed)
        same(connection.eof, False)


@test
def what_the_host_gives_up_is_reset(agent):
    with listen() as server:
        connection, program = open_one(agent, server)
        connection.close()
        try:
            got = program.recv(100)
        except ConnectionResetError:
            got = "reset"
        same(got, "reset")
        connection.send(b"to nobody", eof=True)
        same_run(agent.bash("echo still here"), b"still here\n")
        same(connection.closed, False)


@test
def another_epoch_resets_all_and_leaves_who_listens(agent):
    with listen() as server:
        pairs = [open_one(agent, server) for _ in range(3)]
        agent.wake(8)
        for _, program in pairs:
            try:
                program.recv(100)
                raise AssertionError("it goes on")
            except ConnectionResetError:
                pass
        connection, program = open_one(agent, server)
        program.sendall(b"anew")
        connection.wait(lambda c: c.out == b"anew")
        connection.close()


@test
def there_are_256_at_most(agent):
    with listen() as server:
        connections = [agent.connect(server.getsockname()[1]) for _ in range(257)]
        programs = [server.accept()[0] for _ in range(256)]
        for connection in connections:
            connection.wait_opened()
        same([c.opened for c in connections], [0] * 256 + [errno.EMFILE])
        for number, program in enumerate(programs):
            program.sendall(b"%d" % number)
        for connection in connections[:256]:
            connection.wait(lambda c: c.out)
        same(len({c.out for c in connections[:256]}), 256)
        for connection in connections[:256]:
            connection.close()


@test
def what_the_host_says_wrongly_breaks_that_connection_alone(agent):
    with listen() as server:
        connection, program = open_one(agent, server)
        other, other_program = open_one(agent, server)
        agent.send(PORT_OPEN, connection.stream, b"\0")
        agent.send(PORT_TAKEN, connection.stream, b"\xff\xff\xff\xff")
        connection.send(b"", eof=True).send(b"behind the end")
        connection.wait(lambda c: c.closed)
        other_program.sendall(b"as before")
        other.wait(lambda c: c.out == b"as before")
        other.close()


main()
