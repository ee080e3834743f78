#!/usr/bin/python3
"""The HTTP server itself: who gets in, what is refused, and clients that do what they
should not. Over machines that cost nothing (tests/faults/world.py), where a second is long."""
import contextlib
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("PFFS_BUILD", os.path.join(HERE, "../.."))
os.environ.setdefault("PFFS", os.path.join(BUILD, "pffs/pffs"))
os.environ.setdefault("VMCTL", os.path.join(BUILD, "vmctl/vmctl"))
for name in ("PFFS_API_KEYS", "PODFLARE_API_KEYS"):
    os.environ.pop(name, None)
sys.path.insert(0, os.path.join(HERE, "../faults"))
import world  # noqa: E402
from world import LIMIT, Late, in_thread, join, wait, within  # noqa: E402

MIB = 1 << 20


class Unix(http.client.HTTPConnection):
    """A connection to the Unix socket at a path."""

    def __init__(self, path):
        super().__init__("localhost", timeout=LIMIT)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(LIMIT)
        self.sock.connect(self.path)


class Server(world.World):
    """A mount with --http 127.0.0.1:0, unless the test says otherwise."""

    def __init__(self, work, options=()):
        super().__init__(work, {"arguments": ("--http", "127.0.0.1:0"), **dict(options)})

    def doors(self):
        lines = [line.split(" ", 1) for line in world.read(self.at("host")).splitlines()]
        return ([where for key, where in lines if key == "http"],
                [where for key, where in lines if key == "api"][0])

    def connect(self, which=0):
        host, port = self.doors()[0][which].rsplit(":", 1)
        return http.client.HTTPConnection(host.strip("[]"), int(port), timeout=LIMIT)

    def raw(self):
        connection = self.connect()
        connection.connect()
        return connection.sock

    def ask(self, method, path, body=None, headers=(), connection=None):
        """Return: the status, and what the answer says: JSON, or bytes."""
        with within():
            connection = connection or self.connect()
            if isinstance(body, dict):
                body = json.dumps(body)
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            data = answer.read()
        if answer.headers.get_content_type() == "application/json":
            return answer.status, json.loads(data)
        return answer.status, data

    def made(self, name):
        status, shown = self.ask("POST", "/v1/sandboxes", {"name": name})
        assert status == 200 and shown["state"] == "ready", shown
        return f"/v1/sandboxes/{name}"

    def has_state(self, name, state):
        return self.status(name)["state"] == state


def expect(given, wanted):
    assert given == wanted, f"{given!r}, not {wanted!r}"


def test_doors(w):
    """host names the doors; the Unix socket is its user's alone, and goes with pffs"""
    addresses, path = w.doors()
    expect(len(addresses), 1)
    assert addresses[0].startswith("127.0.0.1:") and not addresses[0].endswith(":0")
    expect(os.path.basename(path), f"{w.pffs.pid}.sock")
    expect(stat.S_IMODE(os.stat(path).st_mode), 0o600)
    expect(stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) & 0o022, 0)
    expect(w.ask("GET", "/v1/healthz", connection=Unix(path)), (200, b"ok"))
    status, host = w.ask("GET", "/v1/host")
    expect((status, host["pid"], host["mount"]), (200, w.pffs.pid, w.path))
    w.made("one")
    expect(w.status("one")["state"], "ready")
    status, shown = w.ask("GET", "/v1/sandboxes", connection=Unix(path))
    expect([s["name"] for s in shown["sandboxes"]], ["one"])
    w.pffs.terminate()
    expect(w.pffs.wait(LIMIT), 0)
    assert not os.path.exists(path)


def test_addresses(w):
    """more than one address, of IPv6, too"""
    expect(len(w.doors()[0]), 2)
    for which in range(2):
        expect(w.ask("GET", "/v1/healthz", connection=w.connect(which)), (200, b"ok"))


test_addresses.options = {"arguments": ("--http", "localhost:0", "--http", "[::1]:0")}


def test_keys(w):
    """with keys: 401 for everybody else, but at the Unix socket"""
    for key in ("one", "two", "three"):
        expect(w.ask("GET", "/v1/sandboxes", None, [("Authorization", f"Bearer {key}")]),
               (200, {"sandboxes": []}))
    for value in ("", "Bearer", "Bearer ", "Bearer on", "Bearer onee", "Basic one", "one",
                  "Bearer one,two", "Bearer " + "x" * 5000, "Bearer ONE"):
        status, error = w.ask("GET", "/v1/sandboxes", None, [("Authorization", value)])
        expect((status, error["code"]), (401, "EACCES"))
    for path in ("/v1/sandboxes", "/v1/nothing", "/v1/events"):
        expect(w.ask("GET", path)[0], 401)
    expect(w.ask("POST", "/v1/sandboxes", {"name": "none"})[0], 401)
    expect(w.ask("GET", "/v1/healthz"), (200, b"ok"))
    expect(w.ask("GET", "/v1/openapi.json")[0], 200)
    expect(w.ask("GET", "/v1/sandboxes", connection=Unix(w.doors()[1]))[0], 200)
    # Who has a key may be behind a web page.
    expect(w.ask("GET", "/v1/sandboxes", None, [("Authorization", "Bearer two"),
                                                ("Origin", "https://app.example")])[0], 200)


test_keys.options = {"pffs": {"PFFS_API_KEYS": "one, two", "PODFLARE_API_KEYS": "three"}}


def serve(w, *arguments, **environment):
    """Try pffs serve. Return: its exit status, and what it says."""
    done = subprocess.run(
        [world.PFFS, "serve", "--foreground", "--socket", w.socket, "--images", w.images,
         *arguments], env={**os.environ, **environment}, timeout=LIMIT, capture_output=True,
        check=False)
    return done.returncode, done.stderr.decode()


def test_refused(w):
    """pffs does not listen for other machines without keys, nor where it cannot"""
    for address in ("0.0.0.0:0", "[::]:0"):
        code, said = serve(w, "--http", address)
        assert code == 1 and "keys" in said, said
    empty = os.path.join(w.work, "empty")
    with open(empty, "w", encoding="utf-8") as file:
        file.write("\n\n")
    for options in (("--http", "127.0.0.1"), ("--http", "127.0.0.1:99999"), ("--http", ":0"),
                    ("--http", "nowhere.invalid:0"), ("--http", w.doors()[0][0]),
                    ("--keys", empty), ("--keys", empty + "2")):
        code, said = serve(w, "--http", "127.0.0.1:0", *options)
        assert code == 1 and said.startswith("pffs: "), said


def test_key_file(w):
    """a file of keys; with one, pffs listens for other machines"""
    keys = os.path.join(w.work, "keys")
    with open(keys, "w", encoding="utf-8") as file:
        file.write("first\n  second  \n")
    server = subprocess.Popen(
        [world.PFFS, "serve", "--foreground", "--socket", w.socket, "--images", w.images,
         "--state", os.path.join(w.work, "state2"), "--http", "0.0.0.0:0", "--keys", keys],
        stderr=subprocess.PIPE)
    try:
        said = server.stderr.readline().decode()
        assert f"process {server.pid} serves http://0.0.0.0:" in said, said
        port = int(said.split("http://0.0.0.0:")[1].split(",")[0])
        for key, wanted in (("first", 200), ("second", 200), ("third", 401)):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
            expect(w.ask("GET", "/v1/host", None, [("Authorization", f"Bearer {key}")],
                         connection)[0], wanted)
        # Without a mount there are sandboxes all the same.
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
        headers = [("Authorization", "Bearer first")]
        expect(w.ask("POST", "/v1/sandboxes", {}, headers, connection)[0], 200)
    finally:
        server.terminate()
        expect(server.wait(LIMIT), 0)
        server.stderr.close()


def test_stale(w):
    """sockets of processes that have gone are removed by the next pffs"""
    runtime = os.path.dirname(w.doors()[1])
    dead = subprocess.Popen(["true"])
    dead.wait()
    stale = os.path.join(runtime, f"{dead.pid}.sock")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(stale)
    w.pffs.kill()
    w.pffs.wait()
    killed = os.path.join(runtime, f"{w.pffs.pid}.sock")
    assert os.path.exists(killed)
    subprocess.run(["umount", "-l", w.path], check=True)
    w.start_pffs()
    assert not os.path.exists(stale) and not os.path.exists(killed)
    expect(w.ask("GET", "/v1/healthz"), (200, b"ok"))


def test_pages(w):
    """a web page of somebody else gets nothing, by its Origin and by the Host it asked"""
    here = w.doors()[0][0]
    port = here.rsplit(":", 1)[1]
    for host in (here, f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}", "127.0.0.1"):
        expect(w.ask("GET", "/v1/sandboxes", None, [("Host", host)])[0], 200)
        expect(w.ask("GET", "/v1/sandboxes", None,
                     [("Host", host), ("Origin", f"http://{host}")])[0], 200)
    for host in ("evil.example", f"localhost.evil.example:{port}", "127.0.0.1.evil.example",
                 "[::1].evil.example", "localhost@evil.example", "x" * 300):
        expect(w.ask("GET", "/v1/sandboxes", None, [("Host", host)])[0], 403)
    for origin in ("http://evil.example", "null", "", f"https://{here}", f"http://{here}0",
                   f"http://localhost:{port}"):
        status, error = w.ask("POST", "/v1/sandboxes", {"name": "no"}, [("Origin", origin)])
        expect((status, error["code"]), (403, "EACCES"))
    for site, wanted in (("cross-site", 403), ("same-site", 403), ("", 403),
                         ("same-origin", 200), ("none", 200)):
        for path in ("/v1/sandboxes", "/v1/events?follow=false"):
            expect(w.ask("GET", path, None, [("Sec-Fetch-Site", site)])[0], wanted)
    connection = w.connect()
    connection.request("GET", "/v1/sandboxes")
    answer = connection.getresponse()
    expect((answer.getheader("X-Content-Type-Options"), json.load(answer)),
           ("nosniff", {"sandboxes": []}))


def test_whole_uri(w):
    """a request may name the server with the path; then that is who is meant, not Host"""
    host = w.doors()[0][0]
    w.made("demo")
    for uri, wanted in ((f"http://{host}/v1/sandboxes/demo", 200), (f"HTTP://{host}/v1/healthz", 200),
                        (f"http://{host}/v1/sandboxes?x=%zz", 400), (f"http://{host}", 404),
                        ("http://evil.example/v1/sandboxes", 403), ("http:///v1/sandboxes", 403),
                        (f"ftp://{host}/v1/sandboxes", 404)):
        expect((uri, w.ask("GET", uri)[0]), (uri, wanted))


def test_paths(w):
    """what is not there is 404, what does not go there 405, what is malformed 400"""
    at = w.made("demo")
    for path in ("/", "/v1", "/v1/", "/v1/sandboxes/", "/v2/sandboxes", "/v1//sandboxes",
                 "/v1/sandboxes/nobody", "/v1/sandboxes/demo/nothing", at + "/runs/1",
                 at + "/runs/x", at + "/runs/99999999999", at + "/runs/1/stdout",
                 "/v1/sandboxes/../sandboxes", "/v1/sandboxes/demo%00", "/v1/sandboxes/%64emo%2F",
                 "/v1/sandboxes/demo%2Fforks%2Fx", "/v1/sandboxes/templates%2Fdefault",
                 "/v1/sandboxes/" + "x" * 5000, "/v1/sandboxes/%2e%2e"):
        status, error = w.ask("GET", path)
        assert status in (400, 404) and error["error"], (path, status, error)
    expect(w.ask("GET", "/v1/sandboxes/%64emo")[0], 200)
    for path in ("/v1/sandboxes/%", "/v1/sandboxes/%zz", "/v1/sandboxes?a=%f",
                 "/v1/sandboxes?" + "&".join(f"a{n}" for n in range(100))):
        expect(w.ask("GET", path)[0], 400)
    for method, path, allowed in (("PUT", "/v1/sandboxes", "GET, POST"),
                                  ("POST", at, "GET, PATCH, DELETE"),
                                  ("GET", at + "/exec", "POST"), ("OPTIONS", at, None),
                                  ("NONSENSE", at, None)):
        connection = w.connect()
        connection.request(method, path)
        answer = connection.getresponse()
        expect(answer.status, 405)
        told = answer.getheader("Allow")
        assert allowed in (None, told) and told, told
        expect(len(set(told.split(", "))), len(told.split(", ")))
    connection = w.connect()
    connection.request("HEAD", at)
    answer = connection.getresponse()
    expect((answer.status, answer.read()), (200, b""))
    expect(w.ask("GET", at, connection=connection)[0], 200)  # by the same connection


def test_bodies(w):
    """bodies that are no JSON, or not what they should be, are 400 and change nothing"""
    at = w.made("demo")
    for body in ("{", "[]", "5", '"x"', "nul", '{"name": "a", "name": "b"}', '{"name": "\\u0000"}',
                 '{"name": "\\ud800"}', b'{"name": "\xff"}', "[" * 100000, '{"a":' * 100000,
                 '{"name": 5}', '{"name": ""}', '{"name": ".hidden"}', '{"name": "a/b"}',
                 '{"persistent": "on"}', '{"timeout_seconds": -1}', '{"timeout_seconds": 1e300}',
                 '{"ram_mib": 1.5}', '{"vcpus": -1}', '{"egress": 1}', '{"template": ["x"]}',
                 '{"memory_mib": 1}', '{"pad": [' + "0," * 200000 + "0]}", '{"template": "none"}'):
        status, error = w.ask("POST", "/v1/sandboxes", body)
        expect((status, error["code"]), (400, "EINVAL"))
    for body in ("{}", '{"code": null}', '{"code": "1", "language": "perl"}',
                 '{"code": "1", "timeout_seconds": "5"}', '{"code": "1", "stdin": 5}'):
        expect(w.ask("POST", at + "/exec", body)[0], 400)
    for body in ('{"n": 0}', '{"n": 1001}', '{"n": 1.5}', '{"names": []}', '{"names": [1]}',
                 '{"names": ["x", "x/y"]}'):
        expect(w.ask("POST", at + "/fork", body)[0], 400)
    for name in ("demo", "host", "templates", "events", "README"):
        status, error = w.ask("POST", "/v1/sandboxes", {"name": name})
        expect((status, error["code"]), (409, "EEXIST"))
    status, shown = w.ask("GET", "/v1/sandboxes")
    expect([s["name"] for s in shown["sandboxes"]], ["demo"])
    expect(shown["sandboxes"][0]["run"], 0)
    # So short a time is one, and no lack of one.
    status, shown = w.ask("PATCH", at, {"exec_timeout_seconds": 0.0001})
    expect((status, shown["config"]["exec_timeout_seconds"]), (200, 0.001))
    # What is not known is ignored.
    status, shown = w.ask("PATCH", at, {"idle_timeout_seconds": 7.5, "colour": {"deep": [1]}})
    expect((status, shown["config"]["idle_timeout_seconds"]), (200, 7.5))


def test_large(w):
    """64 MiB pass, more is 413 and said in full; code beyond 16 MiB likewise"""
    at = w.made("demo")
    head, tail = '{"code": "print(1)", "pad": "', '"}'
    body = head + "x" * (64 * MIB - len(head) - len(tail)) + tail
    status, lines = w.ask("POST", at + "/exec", body)
    expect((status, json.loads(lines.splitlines()[0])["data"]), (200, "1"))
    # Meanwhile others are answered, more than once.
    answers, done = [], []

    def others():
        host, port = w.doors()[0][0].rsplit(":", 1)
        other = http.client.HTTPConnection(host, int(port), timeout=LIMIT)
        while not done:
            other.request("GET", "/v1/healthz")
            answers.append(other.getresponse().read())

    thread = in_thread(others)
    wait(lambda: answers)
    connection = w.connect()
    connection.connect()
    with within():
        connection.request("POST", at + "/exec", body)
        answers.clear()
        expect(connection.getresponse().status, 200)
    assert len(answers) > 3, answers
    done.append(True)
    join([thread])
    status, error = w.ask("POST", at + "/exec", body + " ")
    expect((status, error["code"]), (413, "EFBIG"))
    status, error = w.ask("POST", at + "/exec", iter([body.encode(), b" " * MIB]))
    expect((status, error["code"]), (413, "EFBIG"))
    connection = w.connect()
    connection.request("POST", at + "/exec", headers={"Expect": "100-continue",
                                                      "Content-Length": str(1 << 40)})
    expect(connection.getresponse().status, 413)
    status, error = w.ask("POST", at + "/exec", {"code": "#" * (16 * MIB + 1)})
    expect((status, error["code"]), (413, "EFBIG"))
    status, error = w.ask("POST", "/v1/sandboxes", '{"name": "' + "x" * MIB + '"}')
    expect((status, error["code"]), (413, "EFBIG"))
    expect(w.ask("GET", at)[1]["run"], 2)


def test_all_bodies(w):
    """of many large bodies at a time some are refused; when others have gone there is room"""
    at = w.made("demo")
    head = (f"POST {at}/exec HTTP/1.1\r\nHost: localhost\r\nContent-Length: {64 * MIB}\r\n"
            "\r\n").encode()
    senders = [w.raw() for _ in range(4)]
    with within(2 * LIMIT):
        for sender in senders:
            sender.sendall(head + b" " * (63 * MIB))
    status, error = w.ask("POST", at + "/exec", " " * (32 * MIB))
    expect((status, error["code"]), (503, "ENOMEM"))
    expect(w.ask("GET", at)[0], 200)
    for sender in senders:
        sender.close()
    wait(lambda: w.ask("POST", at + "/exec", " " * (32 * MIB))[0] == 400)


def test_half_closed(w):
    """a client that has said all, and shut its side, is answered"""
    at = w.made("demo")
    for code, wanted in (("slowly(100)", b"line 99"), ("print('quick')", b"quick")):
        with w.raw() as connection, within():
            connection.sendall(request_of(at, code))
            connection.shutdown(socket.SHUT_WR)
            said = b""
            while piece := connection.recv(MIB):
                said += piece
        assert wanted in said and b'"type":"exit","data":0' in said, said


def exec_lines(w, at, code, **fields):
    status, lines = w.ask("POST", at + "/exec", {"code": code, **fields})
    expect(status, 200)
    return [json.loads(line) for line in lines.splitlines()]


def test_exec(w):
    """exec is lines of JSON, and its run one of the mount; a run has what it was"""
    at = w.made("demo")
    events = exec_lines(w, at, "print('a'); print('b')")
    expect([(e["type"], e["data"], e["seq"]) for e in events],
           [("stdout", "a", 0), ("stdout", "b", 1), ("exit", 0, 2)])
    expect(world.read(w.at("demo/runs/1/output")), "a\nb\n")
    events = exec_lines(w, at, "1 / 0")
    expect([(e["type"], e["data"]) for e in events],
           [("stderr", "ZeroDivisionError: division by zero"), ("exit", 1)])
    expect(exec_lines(w, at, "print('é' * 15000)")[0]["data"], "é" * 15000)
    status, run = w.ask("POST", at + "/runs", {"code": "print(5)"})
    expect((status, run["number"], run["state"], run["stdout"], run["exit_code"], run["changes"]),
           (200, 4, "ended", "5\n", 0, []))
    expect(w.ask("GET", at + "/runs/last")[1], run)
    expect(w.ask("GET", at + "/runs/4/code"), (200, b"print(5)"))
    expect(w.ask("GET", at + "/runs/4/output?follow=true"), (200, b"5\n"))
    expect(w.ask("GET", at + "/runs/4/output?follow=5")[0], 400)
    status, run = w.ask("POST", at + "/runs", {"code": "slowly(200)", "wait": False})
    expect((status, run["state"]), (202, "running"))
    expect(w.ask("GET", at + "/runs/5/stdout?follow=true")[1].count(b"\n"), 200)
    status, shown = w.ask("GET", at + "/runs")
    expect([r["number"] for r in shown["runs"]], [1, 2, 3, 4, 5])
    assert "stdout" not in shown["runs"][0]
    # One that is stopped, and one behind it that never began.
    for _ in range(2):
        w.ask("POST", at + "/runs", {"code": "slowly(10000000)", "wait": False})
    expect(w.ask("POST", at + "/runs/7/stop", {})[0], 204)
    expect(w.ask("GET", at + "/runs/7")[1]["exit_code"], 137)
    expect(w.ask("POST", at + "/runs/6/stop", {"signal": "term"})[0], 400)
    expect(w.ask("POST", at + "/runs/6/stop")[0], 204)
    expect(w.ask("GET", at + "/runs/6?wait=true")[1]["state"], "ended")
    expect(w.ask("POST", at + "/runs/6/stop")[0], 409)
    expect(w.ask("POST", at + "/interrupt")[0], 404)


def test_shown(w):
    """what a guest says of a run is shown in part when it is much, and said so"""
    at = w.made("demo")
    run = w.ask("POST", at + "/runs", {"code": "changes(10000)"})[1]
    expect((len(run["changes"]), len(run["files"]), run["changes_truncated"]),
           (10000, 10000, False))
    run = w.ask("POST", at + "/runs", {"code": "changes(10001)"})[1]
    expect((len(run["changes"]), len(run["files"]), run["changes_truncated"]),
           (10000, 10000, True))
    expect(run["changes"][0], {"change": "A", "path": "root/0"})
    code = f"figures({3 * MIB}, {2 * MIB}, {MIB}, 1)"
    run = w.ask("POST", at + "/runs", {"code": code})[1]
    expect([figure["size"] for figure in run["figures"]], [3 * MIB, 2 * MIB, MIB, 1])
    expect(["data" in figure for figure in run["figures"]], [True, False, True, False])
    for figure in run["figures"]:
        expect(w.ask("GET", figure["url"])[1], bytes(figure["size"]))


def test_entries(w):
    """a directory with very many entries is told whole"""
    at = w.made("demo")
    exec_lines(w, at, "fill(60000)")
    status, shown = w.ask("GET", at + "/files/")
    expect((status, len(shown["entries"])), (200, 60000))
    expect([entry["path"] for entry in shown["entries"]],
           [f"{number:06}" for number in range(1, 60001)])
    exec_lines(w, at, "fill(500001)")
    status, error = w.ask("GET", at + "/files/")
    expect((status, error["code"]), (413, "EFBIG"))
    expect(exec_lines(w, at, "print(1)")[0]["data"], "1")


def test_tars(w):
    """as many tars are taken out at once as there are threads for; more are refused"""
    at = w.made("demo")
    exec_lines(w, at, "fill(1)")
    at += "/files/?format=tar"
    begun = f"PUT {at} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1024\r\n\r\n".encode()
    before = world.open_files(w.pffs.pid)
    crowd = [w.raw() for _ in range(32)]
    for connection in crowd:
        connection.sendall(begun + bytes(512))
    wait(lambda: world.open_files(w.pffs.pid) >= before + 32 * 5)
    status, error = w.ask("PUT", at, bytes(1024))
    expect((status, error["code"]), (409, "EAGAIN"))
    for connection in crowd[1:]:
        connection.close()
    wait(lambda: w.ask("PUT", at, bytes(1024))[0] == 204)
    with crowd[0], within():
        crowd[0].sendall(bytes(512))
        assert crowd[0].recv(4096).startswith(b"HTTP/1.1 204"), "the first one goes on"


def test_replay(w):
    """replay has the newest 1,000 events, of however many there were"""
    at = w.made("demo")

    def replay():
        status, lines = w.ask("GET", at + "/replay")
        expect(status, 200)
        events = [json.loads(line) for line in lines.splitlines()]
        expect([e["seq"] for e in events], list(range(len(events))))
        return [(e["type"], e["data"]) for e in events]

    expect(replay(), [])
    exec_lines(w, at, "print('a'); print(); print('c'); 1 / 0")
    exec_lines(w, at, "print('d\\ne')")
    expect(replay(), [("stdout", "a"), ("stdout", ""), ("stdout", "c"),
                      ("stderr", "ZeroDivisionError: division by zero"), ("exit", 1),
                      ("stdout", "d"), ("stdout", "e"), ("exit", 0)])
    exec_lines(w, at, "for _ in range(20): print('\\n' * 49999)")
    expect(replay(), [("stdout", "")] * 999 + [("exit", 0)])
    exec_lines(w, at, "print('f')")
    expect(replay(), [("stdout", "")] * 997 + [("exit", 0), ("stdout", "f"), ("exit", 0)])


def test_tree(w):
    """forks and what becomes of them when their parent goes"""
    at = w.made("demo")
    status, made = w.ask("POST", at + "/fork", {"names": ["a", "b"]})
    expect((status, [s["path"] for s in made["sandboxes"]]), (200, ["demo/forks/a", "demo/forks/b"]))
    expect(w.ask("GET", "/v1/sandboxes/" + made["children"][0])[1]["name"], "a")
    expect(w.ask("POST", at + "/fork", {"names": ["c", "a"]})[0], 409)
    expect(w.ask("GET", at)[1]["forks"], 2)
    expect(w.ask("DELETE", at + "?forks=refuse")[0], 409)
    expect(w.ask("DELETE", at + "?forks=some")[0], 400)
    status, shown = w.ask("PATCH", "/v1/sandboxes/demo%2Fforks%2Fb", {"name": "b2"})
    expect((status, shown["path"]), (200, "b2"))
    w.made("a")  # the name is taken when the fork moves to the root
    expect(w.ask("DELETE", at)[0], 204)
    names = {s["name"]: s["id"] for s in w.ask("GET", "/v1/sandboxes")[1]["sandboxes"]}
    assert made["children"][0] in names.values() and {"a", "b2"} < set(names), names
    w.ask("POST", "/v1/sandboxes/b2/fork", {"names": ["x"]})
    w.ask("POST", "/v1/sandboxes/b2%2Fforks%2Fx/fork", {"n": 3})
    expect(w.ask("DELETE", "/v1/sandboxes/b2?forks=remove")[0], 204)
    expect(len(w.ask("GET", "/v1/sandboxes")[1]["sandboxes"]), 2)


def test_body_refused(w):
    """who sends a body to where none can go is told so, however much of it there is"""
    files = w.made("demo") + "/files/"
    for path, wanted in (("x" * 300, 400), ("x/../y", 404), ("x/../y?format=tar", 404),
                         ("x", 404), ("x/y", 404), ("x?format=tar", 404)):
        for size in (10, 200_000, 12 * MIB):
            status, error = w.ask("PUT", files + path, bytes(size))
            assert status == wanted and error["error"], (path, size, status, error)
    expect(w.ask("GET", "/v1/healthz"), (200, b"ok"))


def request_of(path, code):
    body = json.dumps({"code": code})
    return (f"POST {path}/exec HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            + body).encode()


def test_slow_client(w):
    """a client that reads nothing of much output keeps nobody, and may read it all later"""
    at = w.made("demo")
    slow = w.raw()
    slow.sendall(request_of(at, "for _ in range(300): print('x' * 50000)"))
    wait(lambda: w.has_state("demo", "ready") and "run 1" in world.read(w.at("demo/status")))
    fast = exec_lines(w, at, "print('quick')")
    expect([e["data"] for e in fast], ["quick", 0])
    others = [w.made(f"other{n}") for n in range(3)]
    for other in others:
        expect(exec_lines(w, other, "print(2)")[0]["data"], "2")
    received, end = 0, b""
    with slow, within():
        while not end.endswith(b"\r\n0\r\n\r\n") and (piece := slow.recv(MIB)):
            received += len(piece)
            end = (end + piece)[-9:]
    assert received > 15_000_000, received


def test_gone(w):
    """a client that goes away leaves its run, and nothing of its own"""
    at = w.made("demo")
    before = world.open_files(w.pffs.pid)
    for number in range(1, 4):
        gone = w.raw()
        gone.sendall(request_of(at, "slowly(300)"))
        assert gone.recv(4096).startswith(b"HTTP/1.1 200"), number
        gone.close()
        wait(w.has_state, "demo", "ready")
        expect(world.read(w.at(f"demo/runs/{number}/stdout")).count("\n"), 300)
    # Who waits, and hears nothing.
    waiting = [w.raw() for _ in range(20)]
    for connection in waiting:
        connection.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait(lambda: world.open_files(w.pffs.pid) >= before + 15)
    for connection in waiting:
        connection.close()
    wait(lambda: world.open_files(w.pffs.pid) <= before + 4)


def test_garbage(w):
    """what is no HTTP is refused or cut off, half a request is waited for, all others go on"""
    garbage = [b"\0" * 1000, b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
               b"GET /v1/healthz HTTP/1.1\r\n\r\n", os.urandom(100000), b"A" * (MIB),
               b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 100000 + b"\r\n",
               b"POST /v1/sandboxes HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
               b"POST /v1/sandboxes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
               b"Content-Length: 7\r\n\r\n{}     ",
               b"POST /v1/sandboxes HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
               b"\r\nzz\r\n{}\r\n0\r\n\r\n"]
    half = [b"", b"GET /v1/sand", b"POST /v1/sandboxes HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 10\r\n\r\n{", b"GET /v1/healthz HTTP/1.1\r\nHost: x"]
    open_ = []
    for piece in garbage + half:
        connection = w.raw()
        with contextlib.suppress(ConnectionError):
            connection.sendall(piece)
        open_.append(connection)
        expect(w.ask("GET", "/v1/healthz"), (200, b"ok"))
    for connection in open_[:len(garbage)]:
        connection.settimeout(0.2)
        with contextlib.suppress(OSError):
            said = connection.recv(MIB)
            assert not said or said.startswith(b"HTTP/1."), said[:100]
    for connection in open_:
        connection.close()
    expect(w.ask("GET", "/v1/sandboxes")[1], {"sandboxes": []})


def test_many(w):
    """many connections at once, and more than there may be"""
    at = w.made("demo")
    crowd = [w.raw() for _ in range(700)]
    expect(w.ask("GET", at)[0], 200)
    for connection in crowd:
        connection.sendall(b"GET /v1/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with within():
        for connection in crowd:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK")
    crowd += [w.raw() for _ in range(500)]
    # Those who are too many wait, or are let go; the mount, and the Unix socket, go on.
    expect(w.status("demo")["state"], "ready")
    expect(w.ask("GET", at, connection=Unix(w.doors()[1]))[0], 200)
    for connection in crowd:
        connection.close()
    expect(w.ask("GET", at)[0], 200)


def test_pipelined(w):
    """requests that come before the answer of the former one are answered in order"""
    at = w.made("demo")
    with w.raw() as connection, within():
        connection.sendall(request_of(at, "slowly(50)") + request_of(at, "print('second')")
                           + b"GET /v1/healthz HTTP/1.1\r\nHost: localhost\r\n"
                           b"Connection: close\r\n\r\n")
        said = b""
        while piece := connection.recv(MIB):
            said += piece
    assert 0 < said.index(b"line 49") < said.index(b"second") < said.index(b"\r\n\r\nok")
    expect(said.count(b"HTTP/1.1 200 OK"), 3)


def test_side_by_side(w):
    """clients side by side each get what is theirs"""
    at = w.made("demo")
    children = w.ask("POST", at + "/fork", {"n": 8})[1]["children"]
    got = {}

    def work(number):
        for round_ in range(20):
            code = f"print({number}, {round_})"
            lines = exec_quietly(w, f"/v1/sandboxes/{children[number]}", code)
            got[number, round_] = json.loads(lines.splitlines()[0])["data"]

    join([in_thread(work, number) for number in range(8)])
    expect(got, {(n, r): f"{n} {r}" for n in range(8) for r in range(20)})


def exec_quietly(w, at, code):
    """Outside the main thread, where there are no alarms."""
    host, port = PORT[w].rsplit(":", 1) if w in PORT else PORT.setdefault(
        w, w.doors()[0][0]).rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=LIMIT)
    connection.request("POST", at + "/exec", json.dumps({"code": code}))
    return connection.getresponse().read()


PORT = {}


def test_trace(w):
    """traceparent of a request is in the log, when it is one"""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    w.ask("GET", "/v1/sandboxes", None, [("traceparent", trace)])
    w.ask("GET", "/v1/sandboxes", None, [("traceparent", "x" * 55)])
    assert f"GET /v1/sandboxes 200 traceparent {trace}\n" in w.said(), w.said()
    expect(w.said().count("traceparent"), 1)


def test_end(w):
    """when pffs ends, who waits is told how his run ended"""
    at = w.made("demo")
    with w.raw() as connection, within():
        connection.sendall(request_of(at, "slowly(10000000)"))
        assert b"line 0" in connection.recv(4096) + connection.recv(4096)
        w.pffs.terminate()
        said = b""
        while piece := connection.recv(MIB):
            said += piece
    assert b'"type":"exit","data":137' in said, said[-300:]
    expect(w.pffs.wait(LIMIT), 0)


def test_end_of_streams(w):
    """when pffs ends, open streams of events end, too, and what comes then is not begun"""
    w.made("demo")
    streams = [w.raw() for _ in range(20)]
    for number, stream in enumerate(streams):
        path = "/v1/events?since=0" if number % 2 else "/v1/sandboxes/demo/events?since=0"
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    half = [w.raw() for _ in range(20)]
    for connection in half:
        connection.sendall(b"POST /v1/sandboxes HTTP/1.1\r\nHost: localhost\r\n"
                           b"Content-Length: 2\r\n\r\n{")
    with within():
        for stream in streams:
            said = stream.recv(MIB)
            while b"ready" not in said:
                said += stream.recv(MIB)
        w.pffs.send_signal(signal.SIGSTOP)
        w.pffs.terminate()
        for connection in half:
            connection.sendall(b"}GET /v1/templates HTTP/1.1\r\nHost: localhost\r\n\r\n")
        w.pffs.send_signal(signal.SIGCONT)
        for stream in streams:
            said = b""
            while piece := stream.recv(MIB):
                said += piece
            assert b"removed" in said or b"destroyed" in said, said[-300:]
            stream.close()
        for connection in half:
            with contextlib.suppress(ConnectionError):
                assert not connection.recv(MIB).startswith(b"HTTP/1.1 200")
            connection.close()
    expect(w.pffs.wait(LIMIT), 0)


assert Late
if __name__ == "__main__":
    world.main(globals(), Server)
