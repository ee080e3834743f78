"""A tool for LangChain and LangGraph.

    from pffs.integrations.langchain import PffsTool

    tool = PffsTool()
    agent = create_agent(model, tools=[tool])
    ...
    tool.close()
"""

from __future__ import annotations

import os
from typing import Any, Literal

from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field, PrivateAttr

from pffs.client import Client
from pffs.integrations.shared import RUN_CODE, LazySandbox, as_text
from pffs.sandbox import Sandbox


class RunCode(BaseModel):
    code: str = Field(description="What to run.")
    language: Literal["python", "bash"] = Field(
        default="python", description="The language of the code."
    )


class PffsTool(BaseTool):
    """Runs code in a sandbox, which is made at the first call, unless one is given, serves all calls, and
    goes with ``close()``."""

    name: str = "run_code"
    description: str = RUN_CODE
    args_schema: type[BaseModel] = RunCode
    _lazy: LazySandbox = PrivateAttr()

    def __init__(
        self,
        *,
        host: str | os.PathLike[str] | None = None,
        template: str | None = None,
        api_key: str | None = None,
        client: Client | None = None,
        sandbox: Sandbox | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(**fields)
        self._lazy = LazySandbox(
            sandbox, host=host, template=template, api_key=api_key, client=client
        )

    def _run(self, code: str, language: Literal["python", "bash"] = "python") -> str:
        return as_text(self._lazy.get().run_code(code, language))

    def close(self) -> None:
        self._lazy.close()


PodflareTool = PffsTool
