"""`pffs mcp` as a speaker of the protocol: versions, errors, calls that go on. The pffs
behind it is a script (mcp_kit.Scripted)."""
import json
import os
import random
import signal
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../unit")]
import broker_kit  # noqa: E402
import jsonschema  # noqa: E402
from mcp.shared.exceptions import MCPError  # noqa: E402
from mcp_kit import (MODERN, Lines, Scripted, anyio, client, run, texts,  # noqa: E402
                     wait_until)

HANDSHAKE = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
TOOLS = {"run_python", "run_bash", "read_output", "fork", "diff", "merge", "upload",
         "download", "create_sandbox", "list_sandboxes", "destroy_sandbox"}


def call(tool, number, **arguments):
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call",
            "params": {"name": tool, "arguments": arguments}}


def envelope(version=MODERN, **more):
    return {"_meta": {"io.modelcontextprotocol/protocolVersion": version,
                      "io.modelcontextprotocol/clientCapabilities": {}}} | more


def test_versions(_):
    "each version of the protocol is agreed on; of one that is not known, the newest is offered"
    for version in HANDSHAKE:
        with Lines() as server:
            told = server.begin(version)
            assert told["protocolVersion"] == version, told
            assert told["serverInfo"]["name"] == "pffs" and told["capabilities"] == {"tools": {}}
    for version in ("1999-01-01", MODERN):
        with Lines() as server:
            assert server.begin(version)["protocolVersion"] == HANDSHAKE[-1]


def test_what_a_version_has(_):
    "a client is told of tools what its version of the protocol has, and no more"
    for version in HANDSHAKE:
        with Lines() as server:
            server.begin(version)
            tools = server.ask("tools/list")["result"]["tools"]
            assert {tool["name"] for tool in tools} == TOOLS
            assert all(("outputSchema" in tool) == (version >= "2025-06-18") and
                       ("annotations" in tool) == (version >= "2025-03-26") for tool in tools)


def test_official_client(world):
    "the official client agrees on a version by itself, lists the tools, and calls them"
    async def session(mode, version):
        async with client(mode=mode, api=world.api) as mcp:
            assert mcp.session.protocol_version == version
            assert mcp.session.server_info.name == "pffs"
            assert "sandbox" in mcp.session.instructions
            tools = (await mcp.list_tools()).tools
            assert {tool.name for tool in tools} == TOOLS
            result = await mcp.call_tool("run_python", {"code": "said"})
            assert result.structured_content["stdout"] == "said", result
    run(session, "auto", MODERN)
    run(session, "legacy", HANDSHAKE[-1])


def test_schemas(_):
    "what is told of a tool is a JSON Schema, and each of its fields is described or plain"
    async def session():
        async with client() as mcp:
            for tool in (await mcp.list_tools()).tools:
                for schema in (tool.input_schema, tool.output_schema):
                    jsonschema.Draft202012Validator.check_schema(schema)
                assert tool.description.endswith(".") and tool.title
                assert all("description" in field for field in tool.input_schema["properties"].values())
                assert tool.annotations.read_only_hint == (
                    tool.name in ("read_output", "diff", "download", "list_sandboxes"))
    run(session)


def test_modern(_):
    "a request that has its version is answered in it, without a handshake"
    with Lines() as server:
        told = server.ask("server/discover", envelope())["result"]
        assert told["supportedVersions"] == [MODERN] and told["resultType"] == "complete"
        tools = server.ask("tools/list", envelope())["result"]
        assert tools["ttlMs"] > 0 and tools["cacheScope"] == "private"
        assert tools["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "pffs"
        error = server.ask("tools/list", envelope("2030-01-01"))["error"]
        assert error["code"] == -32022
        assert error["data"] == {"supported": [MODERN], "requested": "2030-01-01"}
        assert server.ask("ping", envelope())["error"]["code"] == -32601
        wrong = {"_meta": {"io.modelcontextprotocol/protocolVersion": MODERN}}
        assert server.ask("tools/list", wrong)["error"]["code"] == -32602


def test_errors(_):
    "what is wrong with a message is told by the code of JSON-RPC for it, and it goes on"
    with Lines() as server:
        assert server.ask("tools/list")["error"]["code"] == -32600  # before initialize
        assert server.ask("nothing/such")["error"]["code"] == -32601
        assert server.ask("ping")["result"] == {}
        server.begin()
        for line, code in ((b"garbage", -32700), (b'{"jsonrpc":"2.0","id":1', -32700),
                           (b"\xff\xfe{}", -32700), (b"[" * 100000, -32700), (b"42", -32600),
                           (b"[]", -32600), (b"{}", -32600), (b'{"id":1,"method":"ping"}', -32600),
                           (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
                           (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600),
                           (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
                           (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600),
                           (b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}', -32602),
                           (b'{"jsonrpc":"2.0","id":1,"method":"logging/setLevel"}', -32601)):
            server.send(line)
            got = server.receive()
            assert got["error"]["code"] == code and got["jsonrpc"] == "2.0", (line[:60], got)
        for params in ({}, {"name": "no_such_tool"}, {"name": "fork", "arguments": 7}):
            assert server.ask("tools/call", params)["error"]["code"] == -32602, params
        # Answers to what was not asked, notifications, and lines of nothing are not answered.
        server.send({"jsonrpc": "2.0", "id": 9, "result": {}}, "", "  ",
                    {"jsonrpc": "2.0", "method": "notifications/unknown"},
                    {"jsonrpc": "2.0", "method": "notifications/cancelled"},
                    {"jsonrpc": "2.0", "method": "notifications/cancelled",
                     "params": {"requestId": "none"}})
        assert server.ask("ping", {}, "last") == {"jsonrpc": "2.0", "id": "last", "result": {}}


def test_long_line(_):
    "a line without end is refused once, and the next one is heard"
    with Lines() as server:
        for _ in range(100):
            server.process.stdin.write(b"x" * (1 << 20))
        server.send(b"")
        assert server.receive()["error"]["code"] == -32600
        assert server.ask("ping")["result"] == {}


def test_batches(world):
    "2025-03-26 has batches, which are answered in one; what is no request in one is told"
    with Lines(api=world.api) as server:
        server.begin("2025-03-26")
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        server.send([call("run_python", 1, code="a"), ping, 7,
                     {"jsonrpc": "2.0", "method": "notifications/initialized"}])
        answers = server.receive()
        assert sorted(str(answer["id"]) for answer in answers) == ["1", "2", "None"], answers
        server.send([{"jsonrpc": "2.0", "method": "notifications/initialized"}], ping)
        assert server.receive()["id"] == 2


def test_arguments(_):
    "wrong arguments are told to the model since 2025-11-25, and to the client before"
    wrong = ({}, {"code": 1}, {"code": "x", "cod": 1}, {"code": "x", "timeout_seconds": 0},
             {"code": "x", "max_output": 1}, {"code": "x", "max_output": 1.5})
    with Lines() as server:
        server.begin("2025-06-18")
        for arguments in wrong:
            params = {"name": "run_python", "arguments": arguments}
            assert server.ask("tools/call", params)["error"]["code"] == -32602, arguments
    with Lines() as server:
        server.begin()
        for arguments in wrong:
            params = {"name": "run_python", "arguments": arguments}
            result = server.ask("tools/call", params)["result"]
            assert result["isError"] and "argument" in result["content"][0]["text"], arguments
        for tool, arguments in (("read_output", {"run": 1, "stream": "stdin"}),
                                ("fork", {"names": []}), ("fork", {"names": [1]}),
                                ("fork", {"n": 101}), ("diff", {"patch": "yes"})):
            params = {"name": tool, "arguments": arguments}
            assert server.ask("tools/call", params)["result"]["isError"], arguments


def test_hung_call(world):
    "a call that hangs stops neither ping nor other calls"
    with Lines(api=world.api) as server:
        server.begin()
        server.send(call("run_python", "hung", code="hang"))
        world.wait_for(lambda: world.runs)
        assert server.ask("ping")["result"] == {}
        server.send(call("run_python", "hung", code="again"))
        assert server.receive()["error"]["code"] == -32600
        server.send(call("run_bash", "quick", code="quick"))
        assert server.receive()["id"] == "quick"
        assert world.number_of("POST", "/v1/sandboxes") == 1, "two calls made two sandboxes"


def test_cancelled(world):
    "a call that is cancelled has its run interrupted, and is not answered"
    async def session():
        async with client(api=world.api) as mcp:
            async with anyio.create_task_group() as group:
                group.start_soon(mcp.call_tool, "run_python", {"code": "hang"})
                await anyio.to_thread.run_sync(world.wait_for, lambda: world.runs)
                group.cancel_scope.cancel()
            await anyio.to_thread.run_sync(world.wait_for, lambda: world.runs[1]["stopped"])
            assert world.runs[1]["stopped"] == "interrupt"
            assert texts(await mcp.call_tool("run_python", {"code": "next"})).startswith("next")
    run(session)
    with Lines(api=world.api) as server:
        server.begin()
        server.send(call("run_python", 7, code="hang"),
                    {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}})
        world.wait_for(lambda: len(world.runs) == 3 and world.runs[3]["stopped"])
        assert server.ask("ping", number=8)["id"] == 8
        assert server.end() == (0, [])


def test_many_calls(world):
    "more calls than there may be at a time are refused, and those that are there go on"
    with Lines(api=world.api) as server:
        server.begin()
        server.send(*(call("run_python", number, code="hang") for number in range(64)))
        world.wait_for(lambda: len(world.runs) == 64)
        server.send(call("run_python", "more", code="x"))
        got = server.receive()
        assert got["id"] == "more" and got["error"]["code"] == -32000
        for it in world.runs.values():
            it["stopped"] = "kill"
        with world.changed:
            world.changed.notify_all()
        assert {server.receive()["id"] for _ in range(64)} == set(range(64))


def test_progress(world):
    "who wants progress of a run is told of its output and that time goes on"
    async def session():
        told = []

        async def progress(done, _total, message):
            told.append((done, message))
            if len(told) > 1:
                world.runs[1]["stopped"] = "kill"
                with world.changed:
                    world.changed.notify_all()

        async with client(api=world.api) as mcp:
            await mcp.call_tool("run_python", {"code": "hang on"}, progress_callback=progress)
        assert len(told) > 1 and told[0][0] < told[1][0], told
        assert any(message and "hang on" in message for _, message in told), told
    run(session)


def test_output_is_bounded(world):
    "of long output the newest is returned, with a note"
    async def session():
        async with client(api=world.api) as mcp:
            result = await mcp.call_tool("run_python", {"code": "long \N{EURO SIGN}", "max_output": 1000})
            said = result.structured_content
            assert len(said["stdout"].encode()) in range(990, 1001) and said["truncated"]
            assert said["stdout"].endswith("\N{EURO SIGN}") and "read_output" in texts(result)
    run(session)


def test_end(world):
    "at the end of input what was asked is answered, then the session's sandboxes go"
    with Lines(api=world.api) as server:
        server.begin()
        server.send(call("run_python", 1, code="hello"), call("create_sandbox", 2, name="more"))
        status, said = server.end()
        assert status == 0 and {answer["id"] for answer in said} == {1, 2}
    assert not world.sandboxes
    for arguments, left in ((("--keep",), 1), (("--sandbox", "mine"), 1), ((), 0)):
        world.sandboxes.clear()
        with Lines(*arguments, api=world.api) as server:
            server.begin()
            server.send(call("run_python", 1, code="hello"))
            server.receive()
            assert server.end()[0] == 0
        assert len(world.sandboxes) == left, (arguments, world.sandboxes)


def test_end_of_a_client(world):
    "a session whose client has gone ends, whatever its calls do, and so does one by a signal"
    for way in ("gone", "signal"):
        with Lines(api=world.api) as server:
            server.begin()
            server.send(call("run_python", 1, code="hang"))
            wait_until(lambda: any(not it["stopped"] for it in world.runs.values()))
            if way == "gone":
                server.process.stdin.close()
                server.process.stdout.close()
            else:
                server.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert server.process.wait(20) == 0
            assert time.monotonic() - began < 15
        assert not world.sandboxes and all(it["stopped"] for it in world.runs.values())


def test_official_client_ends(world):
    "the official client's end is the session's, also while a call goes on"
    async def session():
        with anyio.move_on_after(PATIENCE_OF_CLIENT):
            async with client(api=world.api) as mcp:
                await mcp.call_tool("run_python", {"code": "hang"})
    PATIENCE_OF_CLIENT = 2
    run(session)
    wait_until(lambda: not world.sandboxes)


def test_sandbox_gone(world):
    "when the session's sandbox has gone that is told, and the next call has a new one"
    with Lines(api=world.api) as server:
        server.begin()
        server.send(call("run_python", 1, code="a"))
        server.receive()
        world.sandboxes.clear()
        server.send(call("run_python", 2, code="b"))
        result = server.receive()["result"]
        assert result["isError"] and "new, empty sandbox" in result["content"][0]["text"]
        server.send(call("run_python", 3, code="c"))
        assert server.receive()["result"]["structuredContent"]["stdout"] == "c"


def test_no_pffs(_):
    "without a pffs at the socket that was said, the tools say so and the session goes on"
    with Lines("--api", "/nonexistent") as server:
        server.begin()
        result = server.ask("tools/call", {"name": "list_sandboxes"})["result"]
        assert result["isError"] and "no pffs answers at /nonexistent" in json.dumps(result)
        assert server.ask("ping")["result"] == {}


def test_pffs_that_does_not_start(world):
    "where no pffs runs and none can be started the tools say so, and messages are all that is written"
    places = {"PFFS_RUNTIME_DIR": os.path.dirname(world.api), "PFFS_STATE": os.path.dirname(world.api),
              "PFFS_IMAGES": "/nonexistent", "PFFS_API": ""}
    world.server.shutdown()
    world.server.server_close()
    with Lines(environment=places) as server:
        server.begin()
        result = server.ask("tools/call", {"name": "list_sandboxes"})["result"]
        assert result["isError"] and "pffs doctor" in json.dumps(result), result
        assert server.end() == (0, [])


def test_silent_pffs(world):
    "a pffs that takes connections and never answers hangs its calls, and nothing else"
    path = world.api + ".silent"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(path)
        silent.listen(64)
        with Lines("--api", path) as server:
            server.begin()
            server.send(*(call("run_python", number, code="x") for number in range(3)),
                        call("list_sandboxes", 3))
            assert server.ask("ping", number=9)["id"] == 9
            server.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 3}})
            assert server.ask("ping", number=10)["id"] == 10
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(30) == 0


def test_noise(world):
    "whatever lines come, each is answered by a message or by none, and the next is heard"
    words = [b'{"jsonrpc":"2.0"', b'"id":1', b'"id":"x"', b'"id":null', b'"method":"tools/call"', b'"method":"ping"',
             b'"params":{"name":"fork","arguments":{"n":0}}', b'"params":{"_meta":{"progressToken":[]}}', b"{", b"}",
             b"[", b"]", b",", b'"', b"\\", b"\xff", b"\0", b"\\u0000", b"1e999", b"-", b"tru", b'"method":"initialize"',
             b'"params":{"protocolVersion":"2025-03-26"}', b'"result":{}', b'"error":7', b'"method":"tools/list"']
    dice = random.Random(int(os.environ.get("PFFS_TEST_SEED", "1")))
    with Lines(api=world.api) as server:
        for _ in range(2000):
            line = b",".join(dice.choices(words, k=dice.randrange(1, 7)))
            line += b"}" if dice.randrange(2) else b""
            server.send(line, {"jsonrpc": "2.0", "id": "mark", "method": "ping"})
            for _ in range(3):
                got = server.receive()
                assert isinstance(got, list) or got["jsonrpc"] == "2.0", (line, got)
                if not isinstance(got, list) and got["id"] == "mark":
                    break
            else:
                raise AssertionError(line)


def test_unknown_by_the_official_client(world):
    "the official client has an unknown tool as an error of the protocol"
    async def session():
        async with client(api=world.api) as mcp:
            try:
                await mcp.call_tool("no_such_tool", {})
            except MCPError as error:
                assert error.error.code == -32602
            else:
                raise AssertionError("it was called")
    run(session)


broker_kit.main(globals(), Scripted)
