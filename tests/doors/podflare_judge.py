"""What the official SDK, podflare 0.0.22 from PyPI, does with pffs: each test is a user's
program with the SDK alone, and then a look into the mount. Speaks TAP."""
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import httpx
from podflare import Client, Sandbox

HOST = os.environ["PODFLARE_HOSTD_URL"]
MOUNT = os.environ["PFFS_TEST_MOUNT"]
LIMIT = 120  # seconds that anything may take, on a machine without KVM
client = Client(host=HOST, timeout=LIMIT)


def make(**options):
    return contextlib.closing(Sandbox(client=client, **options))


def read(*path):
    with open(os.path.join(MOUNT, *path), encoding="utf-8") as file:
        return file.read()


def directory(sandbox):
    """Where in the mount it is."""
    shown = httpx.get(f"{HOST}/v1/sandboxes/{sandbox.id}", timeout=LIMIT).json()
    return os.path.join(MOUNT, shown["path"])


def values(sandbox, name="status"):
    return dict(line.split(" ", 1) for line in read(directory(sandbox), name).splitlines())


def wait(what, *args):
    deadline = time.monotonic() + LIMIT
    while not what(*args):
        assert time.monotonic() < deadline, f"{what} did not come true"
        time.sleep(0.05)


def status_of(function, *args, **options):
    """The HTTP status that the SDK raised."""
    try:
        function(*args, **options)
    except httpx.HTTPStatusError as error:
        return error.response.status_code
    return None


def test_directory():
    """a sandbox that the SDK makes is a directory of the mount, and closed it is not"""
    sandbox = Sandbox(client=client)
    try:
        assert sandbox.id.startswith("sbx_") and len(sandbox.id) == 36
        where = directory(sandbox)
        assert read(where, "status").startswith(f"id {sandbox.id}\n")
        assert client.healthz()
    finally:
        sandbox.close()
    assert not os.path.exists(where)
    sandbox.close()  # once more, which is no error


def test_run_code():
    """run_code: output, exit codes, state that stays, both languages"""
    with make() as sandbox:
        result = sandbox.run_code("x = 41\nprint('one')\nprint('two', end='')")
        assert (result.stdout, result.stderr, result.exit_code) == ("one\ntwo", "", 0), result
        assert result.ok and sandbox.run_code("print(x + 1)").stdout == "42"
        result = sandbox.run_code("raise ValueError('no')")
        assert result.exit_code == 1 and "ValueError: no" in result.stderr, result
        assert sandbox.run_code("import sys; sys.exit(7)").exit_code == 7
        result = sandbox.run_code("echo out; echo err >&2; exit 3", language="bash")
        assert (result.stdout, result.stderr, result.exit_code) == ("out", "err", 3), result
        assert sandbox.run_code("print(x)").stdout == "41"
        assert sandbox.run_code("").exit_code == 0
        # The mount has had the same runs.
        assert read(directory(sandbox), "runs/1/stdout") == "one\ntwo"
        assert read(directory(sandbox), "runs/5/stderr") == "err\n"


def test_lines():
    """lines of every kind come as they are, and what is no text as U+FFFD"""
    with make() as sandbox:
        odd = "a\u2028b\x85c\x1dd\r\x0c\u2029\x7f\"\\\t\U0001f600"
        assert sandbox.run_code(f"print({odd!r})").stdout == odd
        assert sandbox.run_code("print('a\\n\\n\\nb\\n')").stdout == "a\n\n\nb\n"
        code = r"import sys; sys.stdout.buffer.write(b'\xff\xe2\x82|\xe2\x82\n\xf0\x9f')"
        assert sandbox.run_code(code).stdout == "\ufffd\ufffd|\ufffd\n\ufffd"
        long = sandbox.run_code("print('\\u00e9' * 3_000_000)").stdout
        assert long == "\u00e9" * 3_000_000
        # In the order in which they were written, if not at once.
        code = "".join(f"echo {n} >&{1 + n % 2}; sleep 0.05\n" for n in range(6))
        events = list(sandbox.run_code_stream(code, language="bash"))
        assert [e.data for e in events] == ["0", "1", "2", "3", "4", "5", 0], events
        assert [e.type for e in events] == ["stdout", "stderr"] * 3 + ["exit"]
        assert [e.seq for e in events] == list(range(7))
        assert all(abs(e.ts / 1000 - time.time()) < 3600 for e in events)


def test_stream():
    """run_code_stream gives a line while its run goes on"""
    with make() as sandbox:
        code = ("import os, time\nprint('begun', flush=True)\n"
                "while not os.path.exists('/root/go'): time.sleep(0.05)\nprint('gone on')")
        events = sandbox.run_code_stream(code)
        assert next(events).data == "begun"
        assert values(sandbox)["state"] == "running"
        with open(os.path.join(directory(sandbox), "fs/root/go"), "w", encoding="utf-8"):
            pass
        assert [(e.type, e.data) for e in events] == [("stdout", "gone on"), ("exit", 0)]


def test_fork():
    """fork(5): five sandboxes with what the parent has in memory, in its forks/"""
    with make() as sandbox:
        sandbox.run_code("x = 5; open('/root/shared', 'w').write('shared')")
        children = sandbox.fork(5)
        assert len({c.id for c in children}) == 5
        assert len(os.listdir(os.path.join(directory(sandbox), "forks"))) >= 5
        for number, child in enumerate(children):
            child.run_code(f"x += {number}")
        assert [c.run_code("print(x)").stdout for c in children] == ["5", "6", "7", "8", "9"]
        assert sandbox.run_code("print(x)").stdout == "5"
        grandchild = children[0].fork()[0]
        assert grandchild.run_code("print(open('/root/shared').read())").stdout == "shared"
        for child in [grandchild, *children]:
            child.close()
        assert status_of(client.fork_sandbox, sandbox.id, 0) == 400
        assert status_of(client.fork_sandbox, sandbox.id, 1001) == 400


def test_merge():
    """diff and merge_into: the parent's id drives what the winner has become"""
    with make() as sandbox:
        sandbox.run_code("x = 1\nfor n in 'ab': open('/root/' + n, 'w').write(n)")
        winner, loser = sandbox.fork(2)
        winner.run_code("import os\nx = 2\nos.remove('/root/a')\n"
                        "open('/root/b', 'a').write('!')\nopen('/tmp/new', 'w').write('new')")
        assert sandbox.diff(winner) == {"added": ["/tmp/new"], "removed": ["/root/a"],
                                        "modified": ["/root/b"]}, sandbox.diff(winner)
        assert status_of(winner._client.merge_into, winner.id, loser.id) == 400
        sandbox.merge_into(winner)
        assert sandbox.run_code("print(x, open('/root/b').read())").stdout == "2 b!"
        assert status_of(client.exec_stream(winner.id, "1").__next__) == 404
        winner.close()  # of no effect
        assert sandbox.diff(loser)["removed"] == ["/tmp/new"]
        assert loser.run_code("print(x)").stdout == "1"
        loser.close()


def test_files():
    """upload and download of several MiB, and of a file"""
    with make() as sandbox:
        data = os.urandom(6 << 20)
        sandbox.upload(data, "/root/deep/er/data")
        with open(os.path.join(directory(sandbox), "fs/root/deep/er/data"), "rb") as file:
            assert file.read() == data
        assert sandbox.download("/root/deep/er/data") == data
        sandbox.upload(__file__, "/root/judge.py")
        with open(__file__, "rb") as file:
            assert sandbox.download("/root/judge.py") == file.read()
        try:
            sandbox.download("/root/nothing")
            raise AssertionError("what is not there was read")
        except IOError as error:
            assert "FileNotFoundError" in str(error)


def test_errors():
    """what is wrong is 404 and 400, with a sentence"""
    assert status_of(Sandbox, client=client, template="nonesuch") == 400
    assert status_of(Sandbox, client=client, idle_timeout_seconds=-1) == 400
    assert status_of(Sandbox, client=client, ram_mib="much") == 400
    nobody = "sbx_" + "0" * 32
    assert status_of(client.fork_sandbox, nobody) == 404
    assert status_of(client.replay, nobody) == 404
    assert status_of(client.resume_space, nobody) == 404
    assert status_of(client.pty_kill, nobody, "t1") == 404
    client.destroy_sandbox(nobody)
    client.delete_space(nobody)
    with make() as sandbox:
        assert status_of(sandbox.run_code, "puts 1", language="ruby") == 400
        assert status_of(client.pty_input, sandbox.id, "t9", b"") == 404
        answer = httpx.post(f"{HOST}/v1/sandboxes/{sandbox.id}/exec", content=b"{]", timeout=LIMIT)
        assert answer.status_code == 400 and "JSON" in answer.json()["error"]
        answer = httpx.post(f"{HOST}/v1/sandboxes/{sandbox.id}/exec", json={"code": 5}, timeout=LIMIT)
        assert answer.status_code == 400 and answer.json()["code"] == "EINVAL"


def test_dead():
    """a machine that dies ends the stream with 137, and says so from then on"""
    with make() as sandbox:
        events = sandbox.run_code_stream("import time; print('here', flush=True); time.sleep(600)")
        assert next(events).data == "here"
        subprocess.run([os.environ["VMCTL"], "kill", "--socket", os.environ["PFFS_TEST_SOCKET"],
                        values(sandbox)["vm"]], check=True, timeout=LIMIT,
                       stdout=subprocess.DEVNULL)
        assert [(e.type, e.data) for e in events] == [("exit", 137)]
        assert values(sandbox)["state"] == "dead"
        assert status_of(sandbox.run_code, "print(1)") == 500
        assert status_of(sandbox.fork) == 500


def test_options():
    """options of the constructor are config/ of the directory"""
    with make(template="default", egress=False, idle_timeout_seconds=900, timeout_seconds=1800,
              ram_mib=256, rootfs_gb=64, persistent=True) as sandbox:
        config = {name: read(directory(sandbox), "config", name).strip()
                  for name in ("idle_timeout", "max_lifetime", "memory_mib", "disk_mib",
                               "persistent")}
        assert config == {"idle_timeout": "900", "max_lifetime": "1800", "memory_mib": "256",
                          "disk_mib": "4096", "persistent": "on"}, config
        assert read(directory(sandbox), "net/egress") == "off\n"
        assert httpx.get(f"{HOST}/v1/sandboxes/{sandbox.id}", timeout=LIMIT).json()["egress"] is False
    with make(egress=True, ram_mib=4096) as sandbox:
        assert read(directory(sandbox), "config/memory_mib") == "512\n"
        assert read(directory(sandbox), "net/egress") == "on\n"
        assert httpx.get(f"{HOST}/v1/sandboxes/{sandbox.id}", timeout=LIMIT).json()["egress"] is True


def test_limits():
    """an idle sandbox goes, one that has lived long enough goes"""
    idle = Sandbox(client=client, idle_timeout_seconds=1)
    old = Sandbox(client=client, timeout_seconds=1)
    for sandbox in (idle, old):
        wait(lambda id=sandbox.id: httpx.get(f"{HOST}/v1/sandboxes/{id}", timeout=LIMIT).status_code == 404)
        sandbox.close()


def test_space():
    """a persistent one is frozen instead, and resumes with what it had in memory"""
    sandbox = Sandbox(client=client, idle_timeout_seconds=1, persistent=True)
    try:
        sandbox.run_code("kept = 'in memory'")
        wait(lambda: values(sandbox)["state"] == "frozen")
        resumed = Sandbox.resume(sandbox.id, client=client, idle_timeout_seconds=600)
        assert resumed.id == sandbox.id and values(sandbox)["state"] == "ready"
        assert resumed.run_code("print(kept)").stdout == "in memory"
        assert read(directory(sandbox), "config/idle_timeout") == "600\n"
    finally:
        client.delete_space(sandbox.id)
    assert status_of(client.resume_space, sandbox.id) == 404


def test_context():
    """a context that ends leaves the forks of its sandbox alive"""
    with Sandbox(client=client) as sandbox:
        child = sandbox.fork()[0]
        grandchild = child.fork()[0]
    try:
        assert child.run_code("print('alive')").stdout == "alive"
        assert os.path.dirname(directory(child)) == MOUNT
        assert os.path.dirname(directory(grandchild)) == os.path.join(directory(child), "forks")
    finally:
        child.close()
        grandchild.close()


def test_replay():
    """replay has the lines of what was run"""
    with make() as sandbox:
        sandbox.run_code("print('first')")
        sandbox.run_code("print('second\\u2028half'); import sys; sys.exit(4)")
        events = [(e.type, e.data) for e in sandbox.replay()]
        assert events == [("stdout", "first"), ("exit", 0), ("stdout", "second\u2028half"),
                          ("exit", 4)], events
        sandbox.run_code("for i in range(2000): print(i)")
        events = sandbox.replay()
        assert len(events) == 1000 and events[-1].type == "exit" and events[-2].data == "1999"


class Screen:
    """What a terminal shows."""

    def __init__(self):
        self.bytes, self.exit = b"", None

    def add(self, more):
        self.bytes += more

    def end(self, code):
        self.exit = code


def test_pty():
    """pty: create, input, resize, list, wait; with env, cwd and argv"""
    with make() as sandbox:
        screen = Screen()
        pty = sandbox.pty.create(cmd='echo "$GREETING from $PWD"; read l; stty size; exit 7',
                                 env={"GREETING": "it's"}, cwd="/tmp", cols=100, rows=30,
                                 on_data=screen.add, on_exit=screen.end)
        wait(lambda: b"it's from /tmp" in screen.bytes)
        (info,) = sandbox.pty.list()
        assert info.pty_id == pty.id and info.exit_code is None
        assert "read l" in info.cmd_label and abs(info.created_at_ms / 1000 - time.time()) < 3600
        assert os.path.isdir(os.path.join(directory(sandbox), "pty", pty.id))
        pty.resize(cols=120, rows=40)
        pty.send_input("on\n")
        assert pty.wait(LIMIT) == 7 == screen.exit
        assert b"40 120" in screen.bytes, screen.bytes
        wait(lambda: not sandbox.pty.list())  # it goes with its end
        screen = Screen()
        pty = sandbox.pty.create(cmd=["printf", "<%s>", "two words", "$HOME '"],
                                 on_data=screen.add)
        assert pty.wait(LIMIT) == 0 and screen.bytes == b"<two words><$HOME '>", screen.bytes


def test_attach():
    """pty: attach shows what was shown, to as many as look; kill ends it for all"""
    with make() as sandbox:
        first, second = Screen(), Screen()
        pty = sandbox.pty.create(cmd="echo before; exec cat", on_data=first.add)
        wait(lambda: b"before" in first.bytes)
        other = sandbox.pty.attach(pty.id, on_data=second.add, on_exit=second.end)
        other.send_input(b"typed\n")
        shown = b"before\r\ntyped\r\ntyped\r\n"  # once by the terminal, once by cat
        wait(lambda: first.bytes == second.bytes == shown)
        answer = client.pty_read(sandbox.id, pty.id, 0, max_bytes=6)
        assert answer["data_b64"] == "YmVmb3Jl" and answer["seq"] == 6, answer
        start = time.monotonic()
        answer = client.pty_read(sandbox.id, pty.id, len(first.bytes), timeout_ms=300)
        assert answer == {"data_b64": "", "seq": len(first.bytes), "exit_code": None}, answer
        assert time.monotonic() - start >= 0.3
        pty.kill()
        assert pty.wait(LIMIT) == other.wait(LIMIT) == second.exit == 129
        assert status_of(client.pty_attach_stream(sandbox.id, "nobody").__next__) == 404


def test_threads():
    """threads that share a client work side by side"""
    with make() as sandbox:
        children, results = sandbox.fork(4), {}

        def work(number):
            for round_ in range(3):
                code = f"print({number}, {round_})"
                results[number, round_] = children[number].run_code(code).stdout

        threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        assert results == {(n, r): f"{n} {r}" for n in range(4) for r in range(3)}, results
        for child in children:
            child.close()


def test_interrupted():
    """a client that is interrupted leaves its run, which comes to its end"""
    with make() as sandbox:
        code = ("import os, podflare, sys\n"
                f"sandbox = podflare.Sandbox._from_id({sandbox.id!r}, podflare.Client())\n"
                "run = 'import os, time\\nprint(1, flush=True)\\n'\n"
                "run += 'while not os.path.exists(\"/root/go\"): time.sleep(0.05)\\nprint(2)'\n"
                "for event in sandbox.run_code_stream(run): print(event.data, flush=True)\n")
        user = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)
        assert user.stdout.readline() == b"1\n"
        user.send_signal(signal.SIGINT)
        _, said = user.communicate(timeout=LIMIT)
        assert b"KeyboardInterrupt" in said, said
        where = directory(sandbox)
        assert values(sandbox)["state"] == "running"
        with open(os.path.join(where, "fs/root/go"), "w", encoding="utf-8"):
            pass
        wait(lambda: values(sandbox)["state"] == "ready")
        assert read(where, "runs/1/stdout") == "1\n2\n"


def main():
    tests = [t for name, t in globals().items() if name.startswith("test_")]
    if sys.argv[1:]:
        tests = [t for t in tests if t.__name__ in sys.argv[1:]]
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for number, test in enumerate(tests, 1):
        try:
            test()
            print(f"ok {number} - {test.__doc__}", flush=True)
        except Exception as error:
            failed += 1
            frame = error.__traceback__
            while frame.tb_next and frame.tb_next.tb_frame.f_code.co_filename == __file__:
                frame = frame.tb_next
            print(f"not ok {number} - {test.__doc__}", flush=True)
            print(f"# line {frame.tb_lineno}: {type(error).__name__}: {str(error)[:2000]}",
                  file=sys.stderr, flush=True)
    sys.exit(failed != 0)


main()
