"""What the adapters have in common."""

from __future__ import annotations

import os
import threading
from typing import Any

from pffs.client import Client
from pffs.runs import Figure
from pffs.sandbox import Sandbox
from pffs.types import ExecResult

#: More of an output than this a model is not shown.
SHOWN_MAX = 100_000

RUN_CODE = (
    "Run code in a sandbox, a virtual machine of its own. Python keeps its variables and imports from "
    "call to call; bash is a fresh shell each time, on the same files. Gives stdout, stderr and exit_code."
)


class LazySandbox:
    """A sandbox that is made when it is first used, and used from then on."""

    def __init__(
        self,
        sandbox: Sandbox | None = None,
        *,
        host: str | os.PathLike[str] | None = None,
        template: str | None = None,
        api_key: str | None = None,
        client: Client | None = None,
    ) -> None:
        self._sandbox = sandbox
        self._owned = sandbox is None
        self._how: dict[str, Any] = {
            "host": host,
            "template": template,
            "api_key": api_key,
            "client": client,
        }
        self._lock = threading.Lock()

    def get(self) -> Sandbox:
        with self._lock:
            if self._sandbox is None:
                self._sandbox = Sandbox(**self._how)
            return self._sandbox

    def close(self) -> None:
        """Destroy it, if it was made here. The next use makes another."""
        with self._lock:
            sandbox = self._sandbox if self._owned else None
            if sandbox is not None:
                self._sandbox = None
        if sandbox is not None:
            sandbox.close()


def shortened(text: str, most: int = SHOWN_MAX) -> str:
    """A text of which the middle is left out where it is too long."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"


def as_text(result: ExecResult) -> str:
    """A result as models know it from code_execution."""
    stdout, stderr = shortened(result.stdout), shortened(result.stderr)
    return f"stdout:\n{stdout}\nstderr:\n{stderr}\nexit_code: {result.exit_code}"


def extras(result: ExecResult) -> tuple[list[Figure], list[str]]:
    """Figures that a run drew, and the files that it made or modified."""
    return result.figures, [file.path for file in result.files]
