"""The tools of `pffs mcp`, by the official client, which also sees that each structured
result is what the tool's schema says. PFFS_API is the pffs, mounted at PFFS_TEST_MOUNT."""
import base64
import contextlib
import functools
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../unit")]
import broker_kit  # noqa: E402
import mcp_kit  # noqa: E402
from mcp_kit import anyio, client, run, texts, wait_until  # noqa: E402

MOUNT = os.environ["PFFS_TEST_MOUNT"]
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNg"
                       "YPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==")
PYPLOT = """
figures = {}
class Figure:
    def __init__(self, data): self.data = data
    def savefig(self, file, format): file.write(self.data)
def draw(data): figures[len(figures) + 1] = Figure(data)
def get_fignums(): return sorted(figures)
def figure(number): return figures[number]
def close(figure):
    for number in [n for n, f in figures.items() if f is figure]: del figures[number]
def switch_backend(): pass
def show(): pass
"""
mcp_kit.PATIENCE = 300


class Tools:
    """A session of the official client."""

    def __init__(self, mcp):
        self.mcp = mcp

    async def call(self, tool, **arguments):
        return await self.mcp.call_tool(tool, arguments)

    async def __call__(self, tool, **arguments):
        """The structured result of what has to go well."""
        result = await self.call(tool, **arguments)
        assert not result.is_error, texts(result)
        return result.structured_content

    async def refused(self, tool, **arguments):
        """Why it did not go well."""
        result = await self.call(tool, **arguments)
        assert result.is_error, result
        return texts(result)


class World:
    """What of the mount a test sees."""

    def __init__(self, _directory, _options=()):
        self.before = self.names()

    def names(self):
        return set(os.listdir(MOUNT))

    def made(self):
        return self.names() - self.before

    def end(self):
        """Nothing that a session made is left."""
        try:
            wait_until(lambda: not self.made())
        except AssertionError:
            left = self.made()
            for name in left:
                os.rmdir(os.path.join(MOUNT, name))
            return f"{left} were left"
        return None

    def session(self, test, *arguments, **options):
        async def run_it():
            async with client(*arguments, api=os.environ["PFFS_API"], **options) as mcp:
                await test(Tools(mcp))
        run(run_it)


def test_run(world):
    "code is run in a sandbox of the session's own, which has its state from call to call"
    async def session(tool):
        assert not world.made(), "there is one before it is needed"
        said = await tool("run_python", code="x = 41\nprint('caf\\u00e9')\nprint(x + 1)")
        assert (said["stdout"], said["stderr"], said["exit_code"]) == ("caf\u00e9\n42\n", "", 0)
        assert world.made() == {said["sandbox"]}, "it is a directory of the mount"
        said = await tool("run_python", code="open('made.txt', 'w').write('hi')\nx / 0")
        assert said["exit_code"] == 1 and "ZeroDivisionError" in said["stderr"]
        assert {"change": "A", "path": "/root/made.txt"} in said["changes"], said["changes"]
        assert said["files"] == ["/root/made.txt"] and not said["changes_omitted"]
        result = await tool.call("run_bash", code="cat made.txt; rm made.txt; cat; echo e >&2; exit 7",
                                 stdin="in\n")
        said = result.structured_content
        assert (said["stdout"], said["stderr"], said["exit_code"]) == ("hiin\n", "e\n", 7)
        assert said["changes"] == [{"change": "D", "path": "/root/made.txt"}] and not said["files"]
        assert "exit code 7" in texts(result) and "[stderr]" in texts(result)
        said = await tool("run_python", code="import time; time.sleep(100)", timeout_seconds=0.5)
        assert said["timed_out"] and said["exit_code"] == 124
    world.session(session)


def test_legacy(world):
    "a client of a version with a handshake has the same"
    async def session(tool):
        assert (await tool("run_bash", code="echo 1"))["stdout"] == "1\n"
    world.session(session, mode="legacy")


def test_output(world):
    "long and broken output is bounded and made UTF-8, and all of it can be read"
    async def session(tool):
        code = "import sys; sys.stdout.write('line\\n' * 60000); sys.stdout.flush(); sys.stdout.buffer.write(b'\\xff\\0end\\n')"
        said = await tool("run_python", code=code)
        assert said["truncated"] and len(said["stdout"].encode()) <= 100000
        assert said["stdout"].endswith("line\n\ufffd\0end\n"), said["stdout"][-20:]
        offset, whole = 0, ""
        while offset is not None:
            part = await tool("read_output", run=said["run"], stream="stdout", offset=offset)
            whole, offset = whole + part["text"], part["next_offset"]
        assert whole == "line\n" * 60000 + "\ufffd\0end\n"
        part = await tool("read_output", run=said["run"], stream="code", max_bytes=100)
        assert part["text"].startswith("import sys") and part["next_offset"] in (100, None)
        assert "999" in await tool.refused("read_output", run=999)
    world.session(session)


def test_figures(world):
    "figures are images of the content, and what is no PNG is none"
    async def session(tool):
        await tool("upload", path="matplotlib/__init__.py", text="")
        await tool("upload", path="matplotlib/pyplot.py", text=PYPLOT)
        code = "import sys; sys.path.insert(0, '/root'); import matplotlib.pyplot as plt\n"
        code += f"plt.draw({PNG!r}); plt.draw(b'no PNG at all')"
        result = await tool.call("run_python", code=code)
        images = [block for block in result.content if block.type == "image"]
        assert [(i.mime_type, base64.b64decode(i.data)) for i in images] == [("image/png", PNG)]
        said = result.structured_content
        assert (said["figures"], said["figures_omitted"]) == (1, 1), said
    world.session(session)


def test_files(world):
    "files go in and come out, as text, as an image, or as bytes"
    async def session(tool):
        data = bytes(range(256)) * 2
        assert (await tool("upload", path="a/b.txt", text="h\u00e9"))["size"] == 3
        assert (await tool("upload", path="/tmp/b.bin", base64=base64.b64encode(data).decode()))["size"] == 512
        await tool("upload", path="c.png", base64=base64.b64encode(PNG).decode())
        said = await tool("download", path="/root/a/b.txt")
        assert said["text"] == "h\u00e9" and said["size"] == 3 and said["next_offset"] is None
        result = await tool.call("download", path="/tmp/b.bin")
        assert base64.b64decode(result.content[0].resource.blob) == data
        result = await tool.call("download", path="c.png")
        assert base64.b64decode(result.content[0].data) == PNG
        await tool("run_python", code="open('long', 'w').write('0123456789\\u20ac' * 20000)")
        said = await tool("download", path="long")
        assert said["size"] == 260000 and said["next_offset"] <= 100000
        more = await tool("download", path="long", offset=said["next_offset"], max_bytes=1000000)
        assert said["text"] + more["text"] == "0123456789\u20ac" * 20000
        assert "directory" in await tool.refused("download", path="/tmp")
        assert await tool.refused("download", path="none")
        assert "base64" in await tool.refused("upload", path="x", base64="!")
        assert "one of" in await tool.refused("upload", path="x")
        assert "one of" in await tool.refused("upload", path="x", text="", base64="")
        assert "local_path" in await tool.refused("upload", path="x", local_path="/etc/passwd")
    world.session(session)


def test_local_files(world):
    "with --allow-files tools use files of that directory, and of no other"
    with tempfile.TemporaryDirectory() as outside:
        allowed = os.path.join(outside, "allowed")
        os.mkdir(allowed)
        for path in ("in.txt", "../secret"):
            with open(os.path.join(allowed, path), "w", encoding="ascii") as file:
                file.write(path)
        os.symlink("../secret", os.path.join(allowed, "link"))

        async def session(tool):
            await tool("upload", path="x", local_path="in.txt")
            await tool("upload", path="y", local_path=os.path.join(allowed, "in.txt"))
            assert (await tool("run_bash", code="cat x y"))["stdout"] == "in.txtin.txt"
            await tool("download", path="x", local_path="out.txt")
            with open(os.path.join(allowed, "out.txt"), encoding="ascii") as file:
                assert file.read() == "in.txt"
            for path in ("../secret", "link", os.path.join(outside, "secret"), "/etc/passwd", "."):
                await tool.refused("upload", path="z", local_path=path)
                await tool.refused("download", path="x", local_path=path)
            with open(os.path.join(outside, "secret"), encoding="ascii") as file:
                assert file.read() == "../secret"
        world.session(session, "--allow-files", allowed)


def test_forks(world):
    "forks go on by themselves; they are compared, and merged back as they are or by files"
    async def session(tool):
        await tool("run_python", code="x = 1\nopen('f', 'w').write('1\\n')")
        forks = (await tool("fork", names=["left", "right"]))["forks"]
        assert [fork["name"] for fork in forks] == ["left", "right"] and all(f["made_here"] for f in forks)
        own = next(iter(world.made()))
        assert set(os.listdir(os.path.join(MOUNT, own, "forks"))) >= {"left", "right"}
        code = "x += {0}\nopen('f', 'w').write(f'{{x}}\\n')\nopen('only{0}', 'w').write('')\nprint(x)"
        said = await tool("run_python", sandbox="left", code=code.format(1))
        assert said["stdout"] == "2\n"
        await tool("run_python", sandbox=forks[1]["sandbox"], code=code.format(2))
        assert (await tool("run_python", code="print(x)"))["stdout"] == "1\n"
        said = await tool("diff", target="left", patch=True, paths=["/root"])
        assert (said["added"], said["removed"], said["modified"]) == (["/root/only1"], [], ["/root/f"]), said
        assert "-1\n+2\n" in said["patch"] and not said["patch_truncated"]
        said = await tool("diff", sandbox="left", target="right")
        assert len(said["added"]) == len(said["removed"]) == len(said["modified"]) == 1, said
        assert (await tool("diff", sandbox="right", paths=["/root/only2"]))["added"]
        result = await tool.call("merge", forks=["left", "right"], how="files")
        assert result.is_error and not result.structured_content["merged"], result
        assert "f" in result.structured_content["report"]
        assert (await tool("merge", forks=["right"], how="files"))["merged"]
        assert (await tool("run_bash", code="cat f; ls only*"))["stdout"] == "3\nonly2\n"
        assert "one fork" in await tool.refused("merge", forks=["left", "right"])
        assert (await tool("merge", forks=["left"]))["merged"]
        assert (await tool("run_python", code="print((x, open('f').read()))"))["stdout"] == "(2, '2\\n')\n"
        await tool.refused("run_python", sandbox="left", code="x")
        assert len((await tool("fork", n=3))["forks"]) == 3
    world.session(session)


def test_sandboxes(world):
    "a model makes sandboxes and destroys what it made, but nothing of the user's"
    os.mkdir(os.path.join(MOUNT, "mcp-user"))
    try:
        async def session(tool):
            made = await tool("create_sandbox", name="mcp-more")
            assert made["state"] == "ready" and made["made_here"] and made["parent"] is None
            assert world.made() == {"mcp-user", "mcp-more"}, "nobody needed the session's own"
            await tool.refused("create_sandbox", name="mcp-more")
            await tool.refused("create_sandbox", template="none")
            listed = {it["name"]: it["made_here"] for it in (await tool("list_sandboxes"))["sandboxes"]}
            assert listed["mcp-more"] and not listed["mcp-user"]
            await tool("run_python", sandbox="mcp-user", code="y = 5")
            assert "did not make" in await tool.refused("destroy_sandbox", sandbox="mcp-user")
            assert (await tool("destroy_sandbox", sandbox="mcp-more")) == {"destroyed": "mcp-more"}
            await tool.refused("run_python", sandbox="mcp-more", code="1")
            own = (await tool("run_python", code="z = 1"))["sandbox"]
            await tool("destroy_sandbox", sandbox=own)
            assert (await tool("run_python", code="print('z' in globals())"))["stdout"] == "False\n"
        world.session(session)

        async def user(tool):
            assert (await tool("run_python", code="print(y)"))["stdout"] == "5\n"
            await tool("fork", names=["f"])
            await tool.refused("destroy_sandbox", sandbox="mcp-user")
        world.session(user, "--sandbox", "mcp-user")
        world.session(user, "--sandbox", os.path.join(MOUNT, "mcp-user"))
        wait_until(lambda: not [n for n in os.listdir(os.path.join(MOUNT, "mcp-user/forks")) if n == "f"])
        assert world.made() == {"mcp-user"}
    finally:
        os.rmdir(os.path.join(MOUNT, "mcp-user"))


def test_cancel(world):
    "a call that is cancelled has its run interrupted; what Python had stays"
    async def session(tool):
        own = (await tool("run_python", code="a = 1"))["sandbox"]
        begun = os.path.join(MOUNT, own, "fs/root/begun")

        async def cancelled(name, code):
            async with anyio.create_task_group() as group:
                group.start_soon(functools.partial(tool.call, name, code=code))
                await anyio.to_thread.run_sync(wait_until, lambda: os.path.exists(begun))
                group.cancel_scope.cancel()
            os.unlink(begun)
        await cancelled("run_python", "a = 2\nopen('/root/begun', 'w').close()\nwhile True: pass")
        assert (await tool("run_python", code="print(a)"))["stdout"] == "2\n"
        await cancelled("run_bash", "trap '' INT; : > /root/begun; while :; do sleep 1; done")
        assert (await tool("run_bash", code="echo next"))["stdout"] == "next\n"
    world.session(session)


def test_concurrent(world):
    "calls go on at the same time, in forks and in the same sandbox"
    async def session(tool):
        said, pinged = {}, []
        names = [fork["name"] for fork in (await tool("fork", n=3))["forks"]]

        async def one(name):
            said[name] = (await tool("run_python", sandbox=name, code="import time; time.sleep(2); print(7)"))["stdout"]

        async def ping():
            await tool.mcp.list_tools()
            pinged.append(len(said))
        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(one, name)
            group.start_soon(ping)
        assert said == {name: "7\n" for name in names} and pinged == [0]
        for i in range(5):
            said[i] = None
        async with anyio.create_task_group() as group:
            async def same(i):
                said[i] = (await tool("run_python", code=f"print({i})"))["stdout"]
            for i in range(5):
                group.start_soon(same, i)
        assert [said[i] for i in range(5)] == [f"{i}\n" for i in range(5)]
    world.session(session)


def test_progress(world):
    "output of a run that goes on is told as it comes"
    async def session(tool):
        told, running = [], []

        async def progress(done, _total, message):
            told.append((done, message or "", bool(running)))
        running.append(1)
        code = "import time\nfor i in range(4): print('step', i, flush=True); time.sleep(1 if i < 3 else 4)"
        await tool.mcp.call_tool("run_python", {"code": code}, progress_callback=progress)
        running.clear()
        assert all(a[0] < b[0] for a, b in zip(told, told[1:])), told
        assert any("step 0" in m for _, m, _ in told) and any("step 3" in m for _, m, _ in told), told
    world.session(session)


def test_state_is_seen_in_the_mount(world):
    "what a tool does is seen in the mount, and the other way round"
    async def session(tool):
        own = (await tool("run_bash", code="echo tool > /root/t"))["sandbox"]
        with open(os.path.join(MOUNT, own, "fs/root/t"), encoding="ascii") as file:
            assert file.read() == "tool\n"
        with open(os.path.join(MOUNT, own, "fs/root/u"), "w", encoding="ascii") as file:
            file.write("mount")
        assert (await tool("download", path="u"))["text"] == "mount"
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(os.path.join(MOUNT, own))
        assert "new, empty sandbox" in await tool.refused("run_bash", code="cat /root/t")
        assert (await tool("run_bash", code="ls /root/t"))["exit_code"]
    world.session(session)


broker_kit.main(globals(), World)
