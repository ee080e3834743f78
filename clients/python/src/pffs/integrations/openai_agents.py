"""A tool for the OpenAI Agents SDK.

    from agents import Agent, Runner
    from pffs.integrations.openai_agents import pffs_code_interpreter

    tool = pffs_code_interpreter()
    agent = Agent(name="analyst", instructions="Use run_code.", tools=[tool])
    print(Runner.run_sync(agent, "What is 111 * 111?").final_output)
    tool.close()
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from typing import Any, Literal

from pffs.client import Client
from pffs.errors import PffsError
from pffs.integrations.shared import RUN_CODE, LazySandbox, extras, shortened
from pffs.sandbox import Sandbox
from pffs.types import ExecResult


def _outcome(result: ExecResult) -> Any:
    """A dict as Podflare's has it; with figures, that as text, and the images."""
    said: dict[str, Any] = {
        "stdout": shortened(result.stdout),
        "stderr": shortened(result.stderr),
        "exit_code": result.exit_code,
    }
    try:
        figures, files = extras(result)
        images = [base64.b64encode(figure.data).decode() for figure in figures]
    except PffsError:
        return said  # what it printed is there without these, too
    if files:
        said["files"] = files[:100]
    if not images:
        return said
    from agents import ToolOutputImage, ToolOutputText

    urls = [f"data:image/png;base64,{image}" for image in images]
    return [ToolOutputText(text=json.dumps(said)), *(ToolOutputImage(image_url=u) for u in urls)]


def pffs_code_interpreter(
    *,
    host: str | os.PathLike[str] | None = None,
    template: str | None = None,
    api_key: str | None = None,
    client: Client | None = None,
    sandbox: Sandbox | None = None,
    name: str = "run_code",
) -> Any:
    """A function tool ``run_code(code, language)`` for an ``Agent``.

    Its sandbox, unless one is given, is made when the tool is first called, serves all calls, and
    goes with ``tool.close()``.
    """
    from agents import function_tool

    lazy = LazySandbox(sandbox, host=host, template=template, api_key=api_key, client=client)

    def work(code: str, language: Literal["python", "bash"]) -> Any:
        return _outcome(lazy.get().run_code(code, language))

    @function_tool(name_override=name, description_override=RUN_CODE)
    async def run_code(code: str, language: Literal["python", "bash"] = "python") -> Any:
        """Run code.

        Args:
            code: What to run.
            language: The language of the code.
        """
        return await asyncio.to_thread(work, code, language)

    tool: Any = run_code
    tool.close = lazy.close
    tool.close_podflare_sandbox = lazy.close
    return tool


podflare_code_interpreter = pffs_code_interpreter
