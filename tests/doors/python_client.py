"""The Python client by one door: python_client.py NAME ADDRESS [TEST...]. The same for all doors."""

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

from tap import done, is_, like, ok, part, raises

import pffs
from pffs import Client, ExecResult, Sandbox

door, address, *chosen = sys.argv[1:]
WAIT = 200  # seconds that a program at a terminal may take
client = Client(address)
os.environ["PFFS_HOST"] = address


def seed_program():
    """As somebody writes it for Podflare, but for the import."""
    with Sandbox(template="default", idle_timeout_seconds=600) as sandbox:
        sandbox.run_code("x = 42")
        is_(sandbox.run_code("print(x * 2)").stdout, "84", f"{door}: variables stay")
        children = sandbox.fork(n=2)
        children[0].run_code("x = 100; open('/root/branch', 'w').write('100')")
        is_(children[1].run_code("print(x)").stdout, "42", f"{door}: a fork is by itself")
        is_(
            sandbox.diff(children[0]),
            {"added": ["/root/branch"], "removed": [], "modified": []},
            f"{door}: diff tells what the other has",
        )
        sandbox.merge_into(children[0])
        is_(sandbox.run_code("print(x)").stdout, "100", f"{door}: merge_into")
        children[0].close()
        is_(sandbox.run_code("print(x)").stdout, "100", f"{door}: close() of what was merged does nothing")
        sandbox.upload("data.csv", b"a,b\n1,2\n")
        is_(
            sandbox.run_code("print(open('data.csv').read(), end='')").stdout,
            "a,b\n1,2",
            f"{door}: upload by path and bytes, below the working directory",
        )
        children[1].close()
        children[1].close()
    raises(pffs.NotFound, f"{door}: the end of with destroys it", Sandbox.get, sandbox.id)


def running(sandbox):
    result = sandbox.run_code("import sys\nprint('a\\n\\nb')\nprint('e', file=sys.stderr)\nsys.exit(3)")
    is_(result, ExecResult("a\n\nb", "e", 3), f"{door}: lines, both streams, the exit code")
    ok(not result.ok, f"{door}: ok is false")
    is_(sandbox.run_code("echo $0; cat", "bash", stdin="in\nput").stdout.split("\n")[1:], ["in", "put"],
        f"{door}: bash, with stdin")
    is_(sandbox.run_code("").exit_code, 0, f"{door}: no code at all")
    like(sandbox.run_code("1/0").stderr, "ZeroDivisionError", f"{door}: a traceback")
    is_(sandbox.run_code("import sys; sys.stdout.buffer.write(b'\\xff.\\n')").stdout, "\ufffd.",
        f"{door}: bytes that are no text")
    seen = []
    with sandbox.run_code_stream("import time\nprint(1, flush=True)\ntime.sleep(8)\nprint(2)") as events:
        for event in events:
            seen.append((event.type, event.data, time.monotonic()))
    is_([s[:2] for s in seen], [("stdout", "1"), ("stdout", "2"), ("exit", 0)], f"{door}: events")
    ok(seen[1][2] - seen[0][2] > 1, f"{door}: which come when they happen")
    with sandbox.run_code_stream("import time; print('x', flush=True); time.sleep(2); print('y')") as events:
        next(events)
    is_(events.run.wait().stdout, "x\ny\n", f"{door}: a run that nobody reads goes on")
    is_([e.data for e in sandbox.replay()][-3:], ["x", "y", 0], f"{door}: replay")


def results(sandbox):
    sandbox.run_code("open('old', 'w').write('1'); open('gone', 'w').close()")
    run = sandbox.run("import os; print('é'); open('made', 'w').write('new'); open('old', 'a').write('2'); os.remove('gone')")
    is_((run.stdout, run.exit_code, run.timed_out, run.state), ("é\n", 0, False, "ended"), f"{door}: a run")
    is_({c.path: c.change for c in run.changes},
        {"/root/made": "A", "/root/old": "M", "/root/gone": "D"}, f"{door}: its changes")
    is_({f.path: f.read() for f in run.files}, {"/root/made": b"new", "/root/old": b"12"}, f"{door}: its files")
    result = sandbox.run_code("open('later', 'w').close()")
    is_([c.path for c in result.changes], ["/root/later"], f"{door}: run_code has them when asked")
    is_((run.figures, result.figures), ([], []), f"{door}: no figures")
    run = sandbox.run("import sys; print(sys.stdin.buffer.read())", stdin=b"\xff\n")
    is_(run.stdout, "b'\\xff\\n'\n", f"{door}: bytes as stdin")
    run = sandbox.run("while True: pass", timeout_seconds=1)
    is_((run.exit_code, run.timed_out), (124, True), f"{door}: a run out of time")
    run = sandbox.runs.start("import time\nprint('up', flush=True)\ntime.sleep(100)")
    is_(next(iter(run.follow("stdout"))), b"up\n", f"{door}: follow a run")
    run.stop("interrupt")
    like(run.wait().stderr, "KeyboardInterrupt", f"{door}: stop it")
    raises(pffs.Conflict, f"{door}: once", run.stop)
    is_(run.read("code").decode().splitlines()[1], "print('up', flush=True)", f"{door}: its code")
    is_(sandbox.runs.last().number, run.number, f"{door}: the last run")
    ok(run.number in [r.number for r in sandbox.runs.list()], f"{door}: is listed")
    raises(pffs.NotFound, f"{door}: no such run", sandbox.runs.get, 99999)


def files(sandbox):
    data = os.urandom(3_000_000)
    sandbox.upload(data, "/srv/deep/er/data")
    ok(sandbox.download("/srv/deep/er/data") == data, f"{door}: upload and download")
    is_(sandbox.files.read("/srv/deep/er/data", 5, 7), data[5:12], f"{door}: a part of a file")
    is_(sandbox.files.read("/srv/deep/er/data", len(data) + 5, 7), b"", f"{door}: past its end")
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, "a")
        with open(local, "wb") as file:
            file.write(data)
        sandbox.upload(local, "/srv/copy")
        sandbox.download("/srv/copy", local + "b")
        with open(local + "b", "rb") as file:
            ok(file.read() == data, f"{door}: from and to local files")
    sandbox.files.write("run.sh", "echo ran", mode=0o755)
    is_(sandbox.run_code("./run.sh", "bash").stdout, "ran", f"{door}: a mode")
    sandbox.files.write("run.sh", "echo again")
    is_(sandbox.files.stat("run.sh").mode, 0o755, f"{door}: which stays")
    sandbox.run_code("ln -s /root/run.sh /srv/link; mkdir /srv/sub; echo ä > '/srv/a b%2F#ü'", "bash")
    entries = {e.name: e for e in sandbox.files.list("/srv")}
    is_(sorted(entries), ["a b%2F#ü", "copy", "deep", "link", "sub"], f"{door}: list")
    is_([entries[n].type for n in ("copy", "sub", "link")], ["file", "directory", "symlink"], f"{door}: types")
    is_((entries["copy"].size, entries["copy"].uid, entries["copy"].path), (len(data), 0, "/srv/copy"),
        f"{door}: size, owner, path")
    is_(sandbox.files.read_text("/srv/a b%2F#ü"), "ä\n", f"{door}: names as they are")
    is_(sandbox.files.read("/srv/link"), b"echo again", f"{door}: links lead on")
    error = raises(pffs.NotFound, f"{door}: no such file", sandbox.download, "/srv/none")
    ok(isinstance(error, FileNotFoundError), f"{door}: which is a FileNotFoundError")
    raises(pffs.PffsError, f"{door}: a directory that is not empty stays", sandbox.files.remove, "/srv/deep")
    sandbox.files.remove("/srv/deep", recursive=True)
    ok(not sandbox.files.exists("/srv/deep"), f"{door}: unless all of it is to go")
    sandbox.files.mkdir("/srv/x/y")
    sandbox.files.write("/srv/x/y/z", b"z")
    packed = b"".join(sandbox.files.tar("/srv/x"))
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        ok([n for n in tar.getnames() if n.endswith("y/z")], f"{door}: a tar")
    sandbox.files.untar("/srv/out", packed)
    found = sandbox.run_code("cat $(find /srv/out -name z)", "bash").stdout
    is_(found, "z", f"{door}: taken out again")
    sandbox.files.remove("/srv", recursive=True)


def forks(sandbox):
    sandbox.run_code("open('/root/both', 'w').write('1\\n2\\n3\\n4\\n5\\n')")
    a, b = sandbox.fork(names=["a", "b"])
    is_(sorted(i.path for i in client.sandboxes() if i.parent == sandbox.id),
        [sandbox.info().path + "/forks/" + n for n in "ab"], f"{door}: forks have names")
    a.files.write("/root/both", "A\n2\n3\n4\n5\n")
    b.files.write("/root/both", "1\n2\n3\n4\nB\n")
    like(sandbox.merge_files(a, b), "both", f"{door}: merge of files")
    is_(sandbox.files.read_text("both"), "A\n2\n3\n4\nB\n", f"{door}: by lines")
    a.files.write("/root/both", "X\n")
    sandbox.files.write("/root/both", "Y\n")
    conflict = raises(pffs.MergeConflict, f"{door}: a conflict", sandbox.merge_files, a)
    like(conflict.report if conflict else "", "root/both", f"{door}: names the file")
    is_(sandbox.files.read_text("both"), "Y\n", f"{door}: and changes nothing")
    sandbox.merge_files(a, favour="theirs")
    is_(sandbox.files.read_text("both"), "X\n", f"{door}: one side can be favoured")
    like(sandbox.patch(b, ["/root/both"]).decode(), r"(?m)^\+B$", f"{door}: a patch")
    ok("/root/both" in sandbox.changes(["/root"])["added"], f"{door}: changes")
    a.close()
    b.close()


def terminals(sandbox):
    shown = []
    pty = sandbox.pty.create(
        cmd="echo $WHO; read x; echo got $x; stty size; exit 7",
        env={"WHO": "a 'b' c"}, cwd="/tmp", cols=100, rows=30, on_data=shown.append)
    is_([s.pty_id for s in sandbox.pty.list()], [pty.id], f"{door}: a terminal is listed")
    pty.resize(cols=90, rows=20)
    pty.send_input("abc\r")
    is_(pty.wait(WAIT), 7, f"{door}: its exit code")
    text = b"".join(shown).decode()
    like(text, r"(?s)a 'b' c\r\n.*got abc\r\n.*20 90\r\n", f"{door}: what it showed")
    pty = sandbox.pty.create(cmd=["python3", "-q"], timeout_ms=0)
    pty.send_input("print(6 * 7)\r")
    seen, at, deadline = b"", 0, time.monotonic() + WAIT
    while b"\n42" not in seen and time.monotonic() < deadline:
        more, at, _ = pty.read(at, timeout_ms=1000)
        seen += more
    like(seen.decode(), r"\n42", f"{door}: read without a callback")
    again = []
    other = sandbox.pty.attach(pty.id, on_data=again.append)
    other.send_input("exit(5)\r")
    is_((other.wait(WAIT), pty.wait(WAIT)), (5, 5), f"{door}: attach")
    like(b"".join(again).decode(), r"\n42", f"{door}: sees what was shown before")
    pty = sandbox.pty.create(cmd="sleep 1000")
    pty.kill()
    ok(pty.wait(WAIT) != 0, f"{door}: kill")


def state(sandbox):
    sandbox.run_code("kept = 'yes'")
    is_(sandbox.freeze().state, "frozen", f"{door}: freeze")
    is_(sandbox.resume().info().state, "ready", f"{door}: resume")
    is_(sandbox.run_code("print(kept)").stdout, "yes", f"{door}: as it was")
    is_(sandbox.configure(exec_timeout_seconds=50).config["exec_timeout_seconds"], 50, f"{door}: configure")
    raises(TypeError, f"{door}: what it does not know is an error", lambda: sandbox.configure(foo=3))
    ok(sandbox.stats()["runs"] > 0, f"{door}: stats")
    events = list(sandbox.events(0, follow=False))
    is_(events[0]["event"], "created", f"{door}: events from the first")
    since = events[-1]["seq"] + 1
    following = sandbox.events(since)
    sandbox.run_code("1")
    is_([next(following)["event"], next(following)["event"]], ["run_started", "run_ended"],
        f"{door}: and those that come")
    following.close()


def errors():
    raises(pffs.NotFound, f"{door}: no such sandbox", Sandbox.get, "sbx_" + "0" * 32)
    error = raises(pffs.InvalidRequest, f"{door}: a bad name", Sandbox, name="a b")
    like(str(error), "name", f"{door}: in a sentence")
    raises(pffs.InvalidRequest, f"{door}: no such template", Sandbox, template="nothing")
    name = f"py-{door}-{os.getpid()}"
    with Sandbox(name=name) as sandbox:
        is_(Sandbox.get(name).id, sandbox.id, f"{door}: get by name")
        raises(pffs.Conflict, f"{door}: a name that is taken", Sandbox, name=name)
        sandbox.fork(names=["kept"])
    with Sandbox.get("kept") as kept:
        is_(kept.info().parent, sandbox.id, f"{door}: forks outlive their parent")
    templates = {t.name: t for t in client.templates()}
    ok(templates["default"].default, f"{door}: templates")
    like(client.template("default").packages or "", "python3", f"{door}: what is in one")
    ok(client.healthz() and client.info()["engine"], f"{door}: the host")


def together(sandbox):
    """Threads that share a Client: in one sandbox, and each in a fork."""
    said = {}

    def ask(number, where):
        code = "import time; time.sleep(0.2)\nfor i in range(20): print({n}, i)"
        said[number] = where.run_code(code.format(n=number)).stdout

    def at_once(targets):
        threads = [threading.Thread(target=ask, args=target) for target in enumerate(targets)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        want = {n: "\n".join(f"{n} {i}" for i in range(20)) for n in range(len(targets))}
        return said == want

    ok(at_once([sandbox] * 6), f"{door}: threads with one sandbox, each with its own output")
    said.clear()
    children = sandbox.fork(3)
    ok(at_once(children), f"{door}: threads with a fork each")
    for child in children:
        child.close()


def figures():
    with Sandbox(template="python-datasci") as sandbox:
        result = sandbox.run_code("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nplt.plot([1])")
        is_([f.number for f in result.figures], [1, 2], f"{door}: figures")
        ok(all(f.data.startswith(b"\x89PNG") for f in result.figures), f"{door}: are PNGs")


def one_program_each():
    """What is made by this door is there for the next."""
    with Sandbox() as sandbox:
        code = f"from pffs import Sandbox; print(Sandbox.get({sandbox.id!r}).run_code('print(1)').stdout)"
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        is_((out.stdout, out.stderr), ("1\n", ""), f"{door}: another program uses it, too")


IN_ONE = (running, results, files, forks, terminals, state, together)
BY_THEMSELVES = (seed_program, errors, figures, one_program_each)


def wanted(tests):
    return [test for test in tests if not chosen or test.__name__ in chosen]


if wanted(IN_ONE):
    with Sandbox(client=client) as shared:
        for test in wanted(IN_ONE):
            with part(f"{door}: {test.__name__}"):
                test(shared)
for test in wanted(BY_THEMSELVES):
    with part(f"{door}: {test.__name__}"):
        test()
pffs.close_default_client()
done()
