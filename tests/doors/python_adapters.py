"""The adapters with the SDKs they are for, against a stub of the models' APIs:
python_adapters.py ADDRESS."""

import asyncio
import json
import os
import sys

from tap import done, is_, like, ok, part, raises

os.environ["PFFS_HOST"] = sys.argv[1]
os.environ.update(OPENAI_AGENTS_DISABLE_TRACING="1", LANGSMITH_TRACING="false")

import anthropic
from model_stub import ModelStub

import pffs
from pffs import Sandbox
from pffs.integrations import anthropic as claude

MODEL = "claude-opus-4-7"


def asks(*turns):
    """A stub, and a client of Anthropic's SDK for it."""
    stub = ModelStub(turns)
    return stub, anthropic.Anthropic(base_url=stub.url, api_key="none", max_retries=0)


def seen(request):
    """What the model sees last: its tool results by id."""
    return {block["tool_use_id"]: block for block in request["messages"][-1]["content"]}


def text(result):
    return result["content"][0]["text"]


def blocks(sandbox):
    """handle_code_execution_tool_use by itself."""
    block = {"type": "tool_use", "id": "t1", "name": "code_execution", "input": {"code": "print(6 * 7)"}}
    is_(
        claude.handle_code_execution_tool_use(block, sandbox),
        {
            "type": "tool_result", "tool_use_id": "t1", "is_error": False,
            "content": [{"type": "text", "text": "stdout:\n42\nstderr:\n\nexit_code: 0"}],
        },
        "the tool_result of code_execution",
    )
    block = anthropic.types.ToolUseBlock(type="tool_use", id="t2", name="code_execution", input={"code": "1/0"})
    result = claude.handle_code_execution_tool_use(block, sandbox)
    is_((result["is_error"], result["tool_use_id"]), (True, "t2"), "an exception is an error")
    like(text(result), r"ZeroDivisionError.*\nexit_code: 1$", "and is shown")
    result = claude.handle_code_execution_tool_use(
        {"id": "t3", "input": {"code": "open('report.txt', 'w').write('x')"}}, sandbox)
    is_(result["content"][1:], [{"type": "text", "text": "files:\n/root/report.txt"}], "files are listed")
    block = {"type": "server_tool_use", "id": "t4", "name": "code_execution", "input": {"code": "1"}}
    raises(ValueError, "what runs at Anthropic is not run here", claude.handle_code_execution_tool_use, block, sandbox)


def loop(sandbox):
    stub, client = asks(
        ["Let me see.", ("run_python", {"code": "x = 5"}), ("run_python", {"code": "print(x + 1)"})],
        [("nothing", {})],
        ["It is 6."],
    )
    with stub:
        messages = [{"role": "user", "content": "x + 1?"}]
        answer = claude.run(client, sandbox, messages, MODEL, system="Be brief.")
        is_(answer.content[0].text, "It is 6.", "run gives the answer")
        is_([m["role"] for m in messages], ["user", "assistant"] * 3, "and keeps the conversation")
        first, second, third = stub.requests
        is_([t["name"] for t in first["tools"]], ["run_python"], "run_python is declared")
        ok("type" not in first["tools"][0], "as a client tool")
        is_((first["system"], first["model"]), ("Be brief.", MODEL), "the rest is passed on")
        is_([text(r) for r in seen(second).values()],
            ["stdout:\n\nstderr:\n\nexit_code: 0", "stdout:\n6\nstderr:\n\nexit_code: 0"],
            "the model sees both results")
        is_([(r["is_error"], text(r)) for r in seen(third).values()], [(True, "There is no tool nothing.")],
            "or that there is no such tool")
        for kind in ("code_execution_20250825", "code_execution_20260521"):
            raises(ValueError, f"{kind} is refused", claude.run, client, sandbox, messages, MODEL,
                   other_tools=[{"type": kind, "name": "code_execution"}])


def bash(sandbox):
    tool = claude.BashTool(sandbox, timeout_seconds=60)

    def said(command):
        return text(tool.handle({"id": "b", "input": {"command": command}}))

    is_(said("cd /tmp; v=(1 '2 3'); f() { echo \"f ${v[1]}\"; }; sleep 300 & pwd"), "/tmp\n", "bash runs a command")
    is_(said("pwd; f; jobs -r | wc -l"), "/tmp\nf 2 3\n1\n", "directory, variables, functions, jobs stay")
    is_(said("echo err >&2; echo 'a\n\tb'"), "err\na\n\tb\n", "both streams, as they are")
    is_(said("cat"), "(no output)", "input is at its end")
    is_(said("printf 'ä€\\377'"), "ä€\ufffd", "bytes")
    result = tool.handle({"id": "b", "input": {"command": "echo no; (exit 3)"}})
    is_((text(result), result["is_error"]), ("no\nexit code: 3", True), "an exit code")
    like(said("if"), "syntax error", "a syntax error is told")
    like(said("echo last; exit 4"), r"(?s)last\nThe shell ended with exit code 4", "the shell can end")
    is_(said("pwd; echo ${v-none}"), "/root\nnone\n", "and is there again")
    said("v=1")
    is_(text(tool.handle({"id": "b", "input": {"restart": True}})), "The shell has been restarted.", "restart")
    is_(said("echo ${v-none}"), "none\n", "is a new shell")
    tool.close()
    tool = claude.BashTool(sandbox, timeout_seconds=15)
    like(said("echo begun; sleep 1000"), r"begun\nThe command did not end within 15 seconds", "a time limit")
    is_(said("echo up"), "up\n", "after which there is a new shell")
    tool.close()
    is_(sandbox.run_code("ls -d /tmp/.pffs-shell* 2>/dev/null | wc -l", "bash").stdout, "0", "nothing is left")


def editor(sandbox):
    tool = claude.TextEditorTool(sandbox, max_characters=2000)

    def edit(**given):
        return text(tool.handle({"id": "e", "input": given}))

    path = "/root/dir/a.py"
    is_(edit(command="create", path=path, file_text="one\ntwo\nthree\n"), f"Created {path}", "create")
    is_(edit(command="view", path=path), "     1\tone\n     2\ttwo\n     3\tthree", "view")
    is_(edit(command="view", path=path, view_range=[2, -1]), "     2\ttwo\n     3\tthree", "some lines")
    like(edit(command="str_replace", path=path, old_str="two\n", new_str="2\n2.5\n"), "     3\t2.5", "str_replace")
    like(edit(command="insert", path=path, insert_line=0, insert_text="zero"), "     1\tzero", "insert")
    is_(sandbox.files.read_text(path), "zero\none\n2\n2.5\nthree\n", "the file is so")
    like(edit(command="str_replace", path=path, old_str="e", new_str=""), "4 times", "what is there more than once")
    like(edit(command="str_replace", path=path, old_str="nope", new_str=""), "0 times", "or not at all")
    like(edit(command="view", path="/root/none"), "there is no /root/none", "no such file")
    like(edit(command="view", path=path, view_range=[9, 10]), "5 lines", "no such lines")
    like(edit(command="view", path="relative"), "absolute", "a relative path")
    like(edit(command="undo_edit", path=path), "view, create", "no such command")
    like(edit(command="view", path="/root"), r"(?m)^/root/dir/\n/root/dir/a.py$", "a directory")
    edit(command="create", path="/root/long", file_text="x\n" * 5000)
    like(edit(command="view", path="/root/long"), "view_range", "what is too long is cut")
    result = tool.handle({"id": "e", "input": {"command": "create", "path": "/root"}})
    is_(result["is_error"], True, "mistakes are errors")


def runner(sandbox):
    """The SDK's own loop, with Anthropic's client tools."""
    stub, client = asks(
        [("bash", {"command": "echo hello > /root/greeting"})],
        [("str_replace_based_edit_tool",
          {"command": "str_replace", "path": "/root/greeting", "old_str": "hello", "new_str": "bye"})],
        [("run_python", {"code": "print(open('/root/greeting').read()); 1/0"})],
        ["Done."],
    )
    with stub:
        mine = claude.tools(sandbox)
        last = client.beta.messages.tool_runner(
            model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "Go."}],
            tools=[claude.runnable(tool) for tool in mine],
        ).until_done()
        is_(last.content[0].text, "Done.", "the SDK's tool runner")
        is_([t.get("type") for t in stub.requests[0]["tools"]], [None, "bash_20250124", "text_editor_20250728"],
            "declares Anthropic's client tools")
        result = next(iter(seen(stub.requests[3]).values()))
        like(text(result), r"(?s)^stdout:\nbye\n.*ZeroDivisionError", "which work on the same files")
        is_(result["is_error"], True, "errors are errors")
        for tool in mine:
            tool.close()
    stub, client = asks([("run_python", {"code": "print('stre' + 'amed')"})], ["End."])
    with stub:
        stream = client.beta.messages.tool_runner(
            model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "Go."}],
            tools=[claude.runnable(claude.RunPythonTool(sandbox))], stream=True,
        )
        for message in stream:
            for _ in message:
                pass
        like(text(next(iter(seen(stub.requests[1]).values()))), "streamed", "and streaming")


def images():
    plot = "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nplt.show()\nprint('drawn')"
    stub, client = asks([("run_python", {"code": plot})], ["A line."])
    with stub, Sandbox(template="python-datasci") as sandbox:
        claude.run(client, sandbox, [{"role": "user", "content": "Plot."}], MODEL)
        result = next(iter(seen(stub.requests[1]).values()))
        is_([b["type"] for b in result["content"]], ["text", "image"], "a figure is an image block")
        source = result["content"][1]["source"]
        is_((source["media_type"], source["data"][:8]), ("image/png", "iVBORw0K"), "of a PNG")
    stub = ModelStub([[("run_code", {"code": plot, "language": "python"})], ["A line."]])
    with stub:
        tool, _ = agent(stub, template="python-datasci")
        output = stub.requests[1]["input"][-1]["output"]
        is_([part["type"] for part in output], ["input_text", "input_image"], "OpenAI's model sees it, too")
        is_(json.loads(output[0]["text"])["stdout"], "drawn", "with the text")
        tool.close()


def agent(stub, model=None, stream=False, **how):
    """Run an agent of the OpenAI Agents SDK: its tool, and its final output."""
    from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner
    from openai import AsyncOpenAI

    from pffs.integrations.openai_agents import pffs_code_interpreter

    async def work():
        async with AsyncOpenAI(base_url=stub.url + "/v1", api_key="none", max_retries=0) as client:
            return await talk(client)

    async def talk(client):
        kind = OpenAIChatCompletionsModel if model == "chat" else OpenAIResponsesModel
        one = Agent(name="a", instructions="Use run_code.", tools=[tool], model=kind("gpt-5", client))
        if not stream:
            return (await Runner.run(one, "Go.")).final_output
        result = Runner.run_streamed(one, "Go.")
        async for _ in result.stream_events():
            pass
        return result.final_output

    tool = pffs_code_interpreter(**how)
    return tool, asyncio.run(work())


def openai():
    from pffs.integrations import openai_agents

    before = len(Sandbox.list())
    unused = openai_agents.podflare_code_interpreter()
    is_(len(Sandbox.list()), before, "no sandbox before the first call")
    unused.close()
    for model, stream in (("responses", False), ("responses", True), ("chat", False)):
        what = f"{model}{', streaming' * stream}"
        stub = ModelStub([
            [("run_code", {"code": "n = 111", "language": "python"})],
            [("run_code", {"code": "print(n * n)", "language": "python"})],
            [("run_code", {"code": "echo $((1 + 1)); exit 2", "language": "bash"})],
            ["It is 12321."],
        ])
        with stub:
            tool, answer = agent(stub, model, stream)
            is_(answer, "It is 12321.", f"OpenAI's agents, {what}")
            last = [r["input" if model == "responses" else "messages"][-1] for r in stub.requests[2:]]
            said = [r["output" if model == "responses" else "content"] for r in last]
            like(said[0], "12321", f"{what}: the model sees what Python kept")
            like(said[1], r"'stdout': '2'.*'exit_code': 2", f"{what}: and bash")
            is_(len(Sandbox.list()), before + 1, f"{what}: in one sandbox")
            tool.close()
            is_(len(Sandbox.list()), before, f"{what}: which close() destroys")


def langchain():
    from langchain_core.messages import ToolCall

    from pffs.integrations.langchain import PffsTool

    tool = PffsTool()
    is_(tool.args["language"]["enum"], ["python", "bash"], "LangChain's tool has a schema")
    tool.invoke({"code": "y = 3"})
    call = ToolCall(name="run_code", args={"code": "print(y)"}, id="c1", type="tool_call")
    answer = tool.invoke(call)
    is_((answer.content, answer.tool_call_id), ("stdout:\n3\nstderr:\n\nexit_code: 0", "c1"), "and runs code")
    tool.close()


with Sandbox() as shared:
    for test in (blocks, loop, bash, editor, runner):
        with part(test.__name__):
            test(shared)
for test in (images, openai, langchain):
    with part(test.__name__):
        test()
pffs.close_default_client()
done()
