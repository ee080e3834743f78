#!/usr/bin/python3
"""The command line against a server that does not answer as pffs does: what it says, what it
shows meanwhile, and that nothing of a run is left.
"""
import http.server
import json
import os
import pty
import re
import select
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
PFFS = os.path.join(os.environ.get("PFFS_BUILD", TOP), "pffs/pffs")
LIMIT = 30  # seconds that anything may take


class Handler(http.server.BaseHTTPRequestHandler):
    """What is answered is in server.answers: by (method, path) a function."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def say(self, status, body, media="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answer(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.split("?")[0]
        self.server.asked.append((self.command, self.path))
        for (method, wanted), answer in self.server.answers.items():
            if method == self.command and (path == wanted or wanted.endswith("*") and path.startswith(wanted[:-1])):
                answer(self)
                return
        self.say(404, {"error": "there is no such thing", "code": "ENOENT"})

    do_GET = do_POST = do_PUT = do_DELETE = answer


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path, answers):
        super().__init__(path, Handler)
        self.answers, self.asked = answers, []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def get_request(self):
        connection, _ = super().get_request()
        return connection, ("local", 0)

    def handle_error(self, *_):  # a client that has gone
        pass


class World:
    def __init__(self):
        self.work = tempfile.TemporaryDirectory(prefix="pffs-client.")
        self.servers = []

    def serve(self, answers, name="1.sock"):
        self.servers.append(Server(os.path.join(self.work.name, name), answers))
        return self.servers[-1]

    def environment(self):
        without = {k: v for k, v in os.environ.items() if not k.startswith("PFFS_")}
        return {**without, "PFFS_RUNTIME_DIR": self.work.name, "http_proxy": "http://127.0.0.1:1", "LC_ALL": "C.UTF-8"}

    def start(self, *arguments, **more):
        more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        return subprocess.Popen([PFFS, *arguments], env=self.environment(), cwd=self.work.name, **more)

    def run(self, *arguments):
        process = self.start(*arguments)
        out, err = process.communicate(timeout=LIMIT)
        return process.returncode, out.decode(), err.decode()

    def end(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()
        self.work.cleanup()


def wait(what):
    deadline = time.monotonic() + LIMIT
    while not what():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def same(got, want):
    assert got == want, f"got {got!r}, wanted {want!r}"


def refusals_are_told(world):
    world.serve({("GET", "/v1/sandboxes"): lambda r: r.say(503, {"error": "there is no memory", "code": "ENOMEM"})})
    same(world.run("ls"), (1, "", "pffs: there is no memory\n"))
    same(world.run("rm", "x"), (1, "", "pffs: there is no such thing\n"))


def what_is_no_answer_is_told(world):
    def half(r):
        r.send_response(200)
        r.send_header("Content-Length", "100")
        r.end_headers()
        r.wfile.write(b'{"sandboxes":')
        r.close_connection = True

    server = world.serve({("GET", "/v1/sandboxes"): half})
    code, out, err = world.run("ls")
    same((code, out), (1, ""))
    assert "the connection to pffs" in err and "broke" in err, err
    server.answers[("GET", "/v1/sandboxes")] = lambda r: r.say(500, b"<html>", "text/html")
    same(world.run("ls"), (1, "", "pffs: pffs answered with status 500\n"))


def several_pffs_are_listed_and_dead_ones_are_not(world):
    answers = {("GET", "/v1/sandboxes"): lambda r: r.say(200, {"sandboxes": []})}
    world.serve(answers)
    dead = world.serve(answers, "2.sock")
    code, _, err = world.run("ls")
    same(code, 1)
    assert "several" in err and "/1.sock" in err and "/2.sock" in err, err
    same(world.run("ls", "-q", "--api", os.path.join(world.work.name, "1.sock")), (0, "", ""))
    dead.shutdown()
    dead.server_close()
    same(world.run("ls", "-q"), (0, "", ""))


def what_takes_long_is_told_at_a_terminal(world):
    def late(r):
        time.sleep(2.3)
        r.say(200, {"sandboxes": []})

    def when_told(r):
        told.wait(LIMIT)
        r.say(200, {"sandboxes": []})

    def read_until(pattern, shown=""):
        while not re.search(pattern, shown):
            assert select.select([ours], [], [], LIMIT)[0], repr(shown)
            shown += os.read(ours, 4096).decode()
        return shown

    server = world.serve({("GET", "/v1/sandboxes"): late})
    same(world.run("ls", "-q"), (0, "", ""))
    told = threading.Event()
    server.answers[("GET", "/v1/sandboxes")] = when_told
    ours, its = pty.openpty()
    process = world.start("ls", "-q", stderr=its)
    shown = read_until(r"waiting, \d+ s")
    told.set()
    same(process.wait(LIMIT), 0)
    read_until("\r\033\\[K$", shown)
    os.close(ours)
    os.close(its)


def nothing_of_a_guest_reaches_the_terminal_as_it_is(world):
    line = {"seq": 1, "time": "now", "event": "renamed", "sandbox": "x", "from": "\033]0;owned\007", "more": ["\u009b1m"]}
    world.serve({("GET", "/v1/events"): lambda r: r.say(200, json.dumps(line).encode() + b"\n", "application/x-ndjson")})
    code, out, _ = world.run("events")
    same(code, 0)
    assert all(c == "\n" or " " <= c <= "~" for c in out) and "owned" in out, repr(out)


def sandbox_of_a_run(answers):
    """A server that makes sandboxes and begins runs; the rest is the test's."""
    return {
        ("POST", "/v1/sandboxes"): lambda r: r.say(201, {"id": "sbx_1", "path": "x"}),
        ("DELETE", "/v1/sandboxes/*"): lambda r: r.say(204, b""),
        **answers}


def script(world):
    with open(os.path.join(world.work.name, "script.sh"), "w", encoding="utf-8") as file:
        file.write("true\n")
    return "script.sh"


def removed(server):
    return [path for method, path in server.asked if method == "DELETE"]


def a_run_that_breaks_leaves_no_sandbox(world):
    server = world.serve(sandbox_of_a_run({}))
    code, _, err = world.run("run", script(world))
    same((code, err), (125, "pffs: there is no such thing\n"))
    same(len(removed(server)), 1)


def who_interrupts_the_making_of_a_sandbox_leaves_none(world):
    going = threading.Event()
    server = world.serve(sandbox_of_a_run({("POST", "/v1/sandboxes"): lambda r: going.wait(LIMIT)}))
    process = world.start("run", script(world))
    wait(lambda: server.asked)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LIMIT)
    going.set()
    same((process.returncode, err), (125, b"pffs: it was interrupted\n"))
    same(len(removed(server)), 1)


def a_run_ends_by_its_code_though_its_input_does_not(world):
    def read_some(r):
        r.rfile.read(1)  # and never answers, as somebody who types never ends
        time.sleep(LIMIT)

    run = {"number": 1, "exit_code": 7}
    world.serve(sandbox_of_a_run({
        ("POST", "/v1/sandboxes/*"): lambda r: r.say(202, run),
        ("PUT", "/v1/sandboxes/*"): read_some,
        ("GET", "/v1/sandboxes/*"): lambda r: r.say(200, run) if r.path.endswith("/1") else r.say(
            200, b"out\n" if "stdout" in r.path else b"err\n", "application/octet-stream")}))
    read, write = os.pipe()
    process = world.start("run", script(world), stdin=read)
    same(process.communicate(timeout=LIMIT), (b"out\n", b"err\n"))
    same(process.returncode, 7)
    os.close(read)
    os.close(write)


def logs_are_of_one_run(world):
    newest = 1

    def stream(r):
        nonlocal newest
        run = r.path.split("/")[-2]
        r.say(200, f"of run {newest if run == 'last' else run}\n".encode(), "application/octet-stream")
        newest += 1  # another one begins

    world.serve({
        ("GET", "/v1/sandboxes/box"): lambda r: r.say(200, {"run": newest}),
        ("GET", "/v1/sandboxes/box/runs/*"): stream})
    same(world.run("logs", "box"), (0, "of run 1\n", "of run 1\n"))


TESTS = [
    refusals_are_told,
    what_is_no_answer_is_told,
    several_pffs_are_listed_and_dead_ones_are_not,
    what_takes_long_is_told_at_a_terminal,
    nothing_of_a_guest_reaches_the_terminal_as_it_is,
    a_run_that_breaks_leaves_no_sandbox,
    who_interrupts_the_making_of_a_sandbox_leaves_none,
    a_run_ends_by_its_code_though_its_input_does_not,
    logs_are_of_one_run,
]


def main():
    failures = 0
    print(f"1..{len(TESTS)}", flush=True)
    for number, test in enumerate(TESTS, 1):
        world, name = World(), test.__name__.replace("_", " ")
        try:
            test(world)
            print(f"ok {number} - {name}", flush=True)
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
            failures += 1
            print(f"not ok {number} - {name}", flush=True)
            print(f"# {error}", file=sys.stderr)
        world.end()
    return 1 if failures else 0


sys.exit(main())
