"""Sandboxes that are virtual machines.

    from pffs import Sandbox

    with Sandbox() as sandbox:
        sandbox.run_code("x = 41")
        print(sandbox.run_code("print(x + 1)").stdout)

docs/python.md has the rest.
"""

from pffs.client import Client, close_default_client
from pffs.errors import (
    Conflict,
    ConnectionFailed,
    DeadlineExceeded,
    Forbidden,
    InvalidRequest,
    MergeConflict,
    NoSpace,
    NotFound,
    OutOfMemory,
    PffsError,
    ServerError,
    TooLarge,
    Unauthorized,
    Unsupported,
)
from pffs.pty import PtyHandle, PtyNamespace
from pffs.runs import Change, Figure, OutputFile, Run, RunStream
from pffs.sandbox import Sandbox
from pffs.types import (
    Event,
    ExecResult,
    FileEntry,
    Language,
    PtySessionInfo,
    SandboxInfo,
    Template,
)

__version__ = "0.1.0"

__all__ = [
    "Change",
    "Client",
    "Conflict",
    "ConnectionFailed",
    "DeadlineExceeded",
    "Event",
    "ExecResult",
    "Figure",
    "FileEntry",
    "Forbidden",
    "InvalidRequest",
    "Language",
    "MergeConflict",
    "NoSpace",
    "NotFound",
    "OutOfMemory",
    "OutputFile",
    "PffsError",
    "PtyHandle",
    "PtyNamespace",
    "PtySessionInfo",
    "Run",
    "RunStream",
    "Sandbox",
    "SandboxInfo",
    "ServerError",
    "Template",
    "TooLarge",
    "Unauthorized",
    "Unsupported",
    "close_default_client",
]
