"""Claude with a sandbox of yours.

    from anthropic import Anthropic
    from pffs import Sandbox
    from pffs.integrations.anthropic import run

    with Sandbox() as sandbox:
        messages = [{"role": "user", "content": "What is the 100th prime?"}]
        answer = run(Anthropic(), sandbox, messages, model="claude-opus-4-7")

What is declared here are *client tools*: the model asks, this program runs the code in the sandbox and
answers. Do not declare ``code_execution_20250825``, or any other type that begins with
``code_execution_``: that is a *server tool*, which Anthropic runs in containers of its own. The
model then gets its results there, in ``server_tool_use`` blocks, and nothing ever
reaches a sandbox of yours. ``run`` refuses such a declaration.

The tools, each with its ``definition`` for ``messages.create(tools=...)`` and ``handle(block)``, which
gives the ``tool_result``:

- ``RunPythonTool``: Python whose variables stay. Figures come back as images.
- ``BashTool``: Anthropic's ``bash_20250124``, one shell that goes on from call to call.
- ``TextEditorTool``: Anthropic's ``text_editor_20250728``.

``runnable(tool)`` is one for the SDK's ``client.beta.messages.tool_runner(tools=...)``.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pffs.errors import PffsError
from pffs.integrations.editor import EditError, Editor
from pffs.integrations.shared import as_text, extras, shortened
from pffs.integrations.shell import Shell, ShellEnded
from pffs.sandbox import Sandbox

if TYPE_CHECKING:
    from anthropic.lib.tools import BetaBuiltinFunctionTool

Block = dict[str, Any]

PYTHON = (
    "Run Python in a sandbox, a virtual machine of its own. Variables, imports and files stay from call to "
    "call. Print what you want to see. Figures of matplotlib that are shown, or left open, come back as images."
)


class ToolFailed(Exception):
    """What the model is told with ``is_error``."""

    def __init__(self, content: list[Block]) -> None:
        super().__init__(" ".join(str(block.get("text", block["type"])) for block in content))
        self.content = content


class Tool(Protocol):
    definition: dict[str, Any]

    def call(self, given: Mapping[str, Any]) -> list[Block]:
        """Carry it out. Raises ToolFailed."""
        ...

    def close(self) -> None: ...


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _field(block: Any, key: str, default: Any = None) -> Any:
    if isinstance(block, Mapping):
        return block.get(key, default)
    return getattr(block, key, default)


def handle(tool: Tool, block: Any) -> dict[str, Any]:
    """Carry out a ``tool_use`` block, an object of the SDK or a dict: the ``tool_result``."""
    if _field(block, "type", "tool_use") != "tool_use":
        raise ValueError(
            f"this is a {_field(block, 'type')} block, which is not to be carried out here: declare "
            "the tool as a client tool"
        )
    result = {"type": "tool_result", "tool_use_id": _field(block, "id")}
    try:
        content = tool.call(_field(block, "input") or {})
    except ToolFailed as error:
        return {**result, "content": error.content, "is_error": True}
    except PffsError as error:
        return {**result, "content": [_text(f"The sandbox failed: {error}")], "is_error": True}
    return {**result, "content": content, "is_error": False}


def _content(result: Any) -> list[Block]:
    """A result as blocks: text, then figures, then which files came."""
    content = [_text(as_text(result))]
    with contextlib.suppress(PffsError):  # what it printed is there without these, too
        figures, files = extras(result)
        for figure in figures:
            data = base64.b64encode(figure.data).decode()
            source = {"type": "base64", "media_type": figure.media_type, "data": data}
            content.append({"type": "image", "source": source})
        if files:
            content.append(_text("files:\n" + "\n".join(files[:100])))
    return content


def _python_definition(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": PYTHON,
        "input_schema": {
            "type": "object",
            "properties": {"code": {"type": "string", "description": "Python code"}},
            "required": ["code"],
        },
    }


class RunPythonTool:
    """Python in the sandbox, as a client tool."""

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        name: str = "run_python",
        timeout_seconds: float | None = None,
    ) -> None:
        self._sandbox = sandbox
        self._timeout = timeout_seconds
        self.definition = _python_definition(name)

    def call(self, given: Mapping[str, Any]) -> list[Block]:
        code = given.get("code", "")
        if not isinstance(code, str):
            raise ToolFailed([_text("code has to be text")])
        result = self._sandbox.run_code(code, timeout_seconds=self._timeout)
        content = _content(result)
        if result.exit_code != 0:
            raise ToolFailed(content)
        return content

    def handle(self, block: Any) -> dict[str, Any]:
        return handle(self, block)

    def close(self) -> None:
        """The sandbox is its maker's."""


def code_execution_tool() -> dict[str, Any]:
    """A client tool by the name of ``code_execution``, for handle_code_execution_tool_use."""
    return _python_definition("code_execution")


def handle_code_execution_tool_use(tool_use_block: Any, sandbox: Sandbox) -> dict[str, Any]:
    """Run the code of a ``tool_use`` block ``{id, name, input: {code}}``: its ``tool_result``.

    The block has to come of a client tool, such as ``code_execution_tool()``. One that was declared as
    ``code_execution_20250825`` runs at Anthropic and never asks for this.
    """
    return handle(RunPythonTool(sandbox), tool_use_block)


class BashTool:
    """Anthropic's client tool ``bash_20250124``: one shell, until ``restart``."""

    definition = {"type": "bash_20250124", "name": "bash"}

    def __init__(self, sandbox: Sandbox, *, timeout_seconds: float = 120) -> None:
        self._shell = Shell(sandbox)
        self._timeout = timeout_seconds

    def call(self, given: Mapping[str, Any]) -> list[Block]:
        if given.get("restart"):
            self._shell.restart()
            return [_text("The shell has been restarted.")]
        command = given.get("command")
        if not isinstance(command, str):
            raise ToolFailed([_text("bash takes a command, or restart")])
        try:
            output, code = self._shell.run(command, self._timeout)
        except ShellEnded as error:
            raise ToolFailed([_text(f"{shortened(error.output)}{error}")]) from error
        text = shortened(output)
        if code == 0:
            return [_text(text or "(no output)")]
        if text and not text.endswith("\n"):
            text += "\n"
        raise ToolFailed([_text(f"{text}exit code: {code}")])

    def handle(self, block: Any) -> dict[str, Any]:
        return handle(self, block)

    def close(self) -> None:
        self._shell.close()


class TextEditorTool:
    """Anthropic's client tool ``text_editor_20250728``, on the files of the sandbox."""

    def __init__(self, sandbox: Sandbox, *, max_characters: int | None = None) -> None:
        self._editor = Editor(sandbox.files, max_characters)
        self.definition: dict[str, Any] = {
            "type": "text_editor_20250728",
            "name": "str_replace_based_edit_tool",
        }
        if max_characters is not None:
            self.definition["max_characters"] = max_characters

    def call(self, given: Mapping[str, Any]) -> list[Block]:
        try:
            return [_text(self._editor.do(given))]
        except EditError as error:
            raise ToolFailed([_text(str(error))]) from error

    def handle(self, block: Any) -> dict[str, Any]:
        return handle(self, block)

    def close(self) -> None:
        """Nothing is kept open."""


def tools(sandbox: Sandbox) -> list[Tool]:
    """All three."""
    return [RunPythonTool(sandbox), BashTool(sandbox), TextEditorTool(sandbox)]


def run(
    client: Any,
    sandbox: Sandbox,
    messages: MutableSequence[Any],
    model: str,
    *,
    tools: Sequence[Tool] | None = None,
    other_tools: Iterable[Mapping[str, Any]] = (),
    max_tokens: int = 4096,
    max_turns: int = 50,
    **create: Any,
) -> Any:
    """Let a model work with a sandbox until it has its answer.

    ``client`` is an ``anthropic.Anthropic``. ``messages`` grows by what is said. ``tools`` is
    RunPythonTool alone unless given; ``other_tools`` are declarations of server tools, such as web search. The rest
    goes to ``client.messages.create``. Returns the last message: the one without a call of a tool, or,
    after ``max_turns`` answers, the one that was the last.
    """
    mine = [RunPythonTool(sandbox)] if tools is None else list(tools)
    declared = [*(tool.definition for tool in mine), *other_tools]
    for definition in declared:
        if str(definition.get("type", "")).startswith("code_execution_"):
            raise ValueError(
                f"{definition['type']} runs at Anthropic, never in this sandbox: leave it out, "
                "run_python is declared"
            )
    by_name = {tool.definition["name"]: tool for tool in mine}
    for _ in range(max_turns):
        answer = client.messages.create(
            model=model, max_tokens=max_tokens, tools=declared, messages=messages, **create
        )
        messages.append({"role": "assistant", "content": answer.content})
        if answer.stop_reason == "pause_turn":
            continue
        if answer.stop_reason != "tool_use":
            break
        calls = [block for block in answer.content if block.type == "tool_use"]
        messages.append(
            {"role": "user", "content": [_answer(by_name.get(call.name), call) for call in calls]}
        )
    return answer


def _answer(tool: Tool | None, call: Any) -> dict[str, Any]:
    if tool is not None:
        return handle(tool, call)
    content = [_text(f"There is no tool {call.name}.")]
    return {"type": "tool_result", "tool_use_id": call.id, "content": content, "is_error": True}


def runnable(tool: Tool) -> BetaBuiltinFunctionTool:
    """A tool for the SDK's tool runner, ``client.beta.messages.tool_runner``."""
    from anthropic.lib.tools import BetaBuiltinFunctionTool, ToolError

    class Runnable(BetaBuiltinFunctionTool):
        def to_dict(self) -> Any:
            return tool.definition

        def call(self, input: object) -> Any:
            try:
                return tool.call(input if isinstance(input, Mapping) else {})
            except ToolFailed as error:
                raise ToolError(error.content) from error  # type: ignore[arg-type]
            except PffsError as error:
                raise ToolError(f"The sandbox failed: {error}") from error

        def close(self) -> None:
            tool.close()

    return Runnable()
