"""What the tests of `pffs mcp` share: the program, spoken to by lines or by the official
client; and a pffs that is a script, for what takes no sandbox."""
import asyncio
import contextlib
import http.server
import json
import os
import re
import socketserver
import subprocess
import threading
import time
import traceback

import anyio
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters

HERE = os.path.dirname(os.path.abspath(__file__))
PFFS = os.path.join(os.environ.get("PFFS_BUILD", os.path.join(HERE, "../..")), "pffs/pffs")
PATIENCE = 60  # seconds that anything may take
MODERN = "2026-07-28"


class Lines:
    """`pffs mcp`, line by line."""

    def __init__(self, *arguments, api=None, environment=None):
        environment = environment or ({"PFFS_API": api} if api else {})
        self.process = subprocess.Popen([PFFS, "mcp", *arguments], env=dict(os.environ, **environment),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.guard = threading.Timer(PATIENCE, self.process.kill)
        self.guard.start()

    def send(self, *messages):
        for message in messages:
            line = message if isinstance(message, (bytes, str)) else json.dumps(message)
            line = line if isinstance(line, bytes) else line.encode()
            self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def receive(self):
        line = self.process.stdout.readline()
        assert line.endswith(b"\n"), f"the server ended: {line}"
        return json.loads(line)

    def ask(self, method, params=None, number=1):
        message = {"jsonrpc": "2.0", "id": number, "method": method}
        self.send(message | ({} if params is None else {"params": params}))
        return self.receive()

    def begin(self, version="2025-11-25"):
        answer = self.ask("initialize", {
            "protocolVersion": version, "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"}}, "begin")
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return answer["result"]

    def end(self):
        """Its exit status, and what it still said."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        rest = b"" if self.process.stdout.closed else self.process.stdout.read()
        status = self.process.wait()
        self.guard.cancel()
        return status, [json.loads(line) for line in rest.splitlines()]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.end()


def client(*arguments, mode="auto", api=None, **named):
    """The official client, with a server of its own."""
    environment = {"PFFS_API": api} if api else {}
    server = StdioServerParameters(command=PFFS, args=["mcp", *arguments], env=environment)
    return Client(server, mode=mode, read_timeout_seconds=PATIENCE, **named)


def run(what, *arguments):
    """To its end; what fails in a group of tasks fails as itself, and says where."""
    async def limited():
        with anyio.fail_after(PATIENCE * 2):
            return await what(*arguments)
    try:
        return asyncio.run(limited())
    except Exception as error:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        where = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(HERE)]
        raise AssertionError(f"line {where[-1].lineno}, {where[-1].line}: {error!r}") from None


def texts(result):
    return "\n".join(block.text for block in result.content if block.type == "text")


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


class Scripted:
    """A pffs whose sandboxes are names. What is run says what happens: `hang` until it is
    stopped, else it is printed."""

    def __init__(self, directory, _options=()):
        self.api = os.path.join(directory, "1.sock")
        self.sandboxes, self.runs, self.asked = {}, {}, []
        self.changed = threading.Condition()
        self.server = Server(self.api, self.handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def end(self):
        for it in self.runs.values():
            it["stopped"] = it["stopped"] or "kill"
        with self.changed:
            self.changed.notify_all()
        self.server.shutdown()
        self.server.server_close()

    def wait_for(self, what):
        with self.changed:
            assert self.changed.wait_for(what, PATIENCE), "it did not come to that"

    def number_of(self, method, pattern):
        return sum(m == method and re.fullmatch(pattern, p) is not None for m, p in self.asked)

    def sandbox(self, name):
        return {"id": self.sandboxes[name], "name": name, "path": name, "state": "ready",
                "parent": None}

    def make(self, name):
        if name in self.sandboxes:
            return 409, {"error": "there is one of that name", "code": "EEXIST"}
        self.sandboxes[name] = f"sbx_{len(self.sandboxes):032x}"
        return 200, self.sandbox(name)

    def run(self, sandbox, body):
        number = len(self.runs) + 1
        self.runs[number] = {"number": number, "code": body["code"], "stopped": None}
        return 202, {"number": number, "state": "queued"}

    def output(self, number):
        code = self.runs[number]["code"]
        return code * 1000 if code.startswith("long") else code

    def ended(self, number):
        it = self.runs[number]
        return not it["code"].startswith("hang") or it["stopped"]

    def result(self, number):
        it = self.runs[number]
        self.changed.wait_for(lambda: self.ended(number), PATIENCE)
        changes = [{"change": "A", "path": "/root/x"}, {"change": "D", "path": "/root/y"}]
        return 200, {"number": number, "state": "ended", "stdout": self.output(number),
                     "stderr": "", "exit_code": 130 if it["stopped"] else 0,
                     "timed_out": False, "out_of_memory": False, "changes": changes,
                     "figures": []}

    def answer(self, method, path, body):
        """Under the lock. Return: the status, and what is said."""
        if path == "/v1/sandboxes" and method == "POST":
            return self.make(body.get("name", f"made-{len(self.sandboxes)}"))
        if path == "/v1/sandboxes":
            return 200, {"sandboxes": [self.sandbox(name) for name in self.sandboxes]}
        name, _, rest = path.removeprefix("/v1/sandboxes/").partition("/")
        names = {known: known for known in self.sandboxes}
        names |= {known: name for name, known in self.sandboxes.items()}
        if method == "DELETE" and not rest:
            self.sandboxes.pop(names.get(name), None)
            return 204, None
        if name not in names:
            return 404, {"error": f"there is no sandbox {name}", "code": "ENOENT"}
        if not rest:
            return 200, self.sandbox(names[name])
        if rest == "runs":
            return self.run(names[name], body)
        found = re.fullmatch(r"runs/(\d+)(/stop|/output)?", rest)
        if found and found[2] == "/stop":
            self.runs[int(found[1])]["stopped"] = (body or {}).get("signal", "kill")
            return 204, None
        if found and found[2]:
            return 200, self.output(int(found[1]))
        if found:
            return self.result(int(found[1]))
        return 404, {"error": "there is nothing", "code": "ENOENT"}

    def handler(world):  # noqa: N805
        class Handler(http.server.BaseHTTPRequestHandler):
            def do(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                path = self.path.partition("?")[0]
                with world.changed:
                    world.asked.append((self.command, path))
                    world.changed.notify_all()
                    status, said = world.answer(self.command, path, body)
                    world.changed.notify_all()
                text = said if isinstance(said, str) else json.dumps(said)
                data = b"" if said is None else text.encode()
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            do_GET = do_POST = do_DELETE = do_PUT = do

            def log_message(self, *_):
                pass

        return Handler


def wait_until(what, *arguments):
    deadline = time.monotonic() + PATIENCE
    while not what(*arguments):
        assert time.monotonic() < deadline, f"{what} did not come true"
        time.sleep(0.02)
