"""Viewing and editing files of a sandbox, as models know it from Anthropic's text editor tool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pffs.errors import PffsError
from pffs.files import Files

FILE_MAX = 8 << 20  # bytes of a file that is edited
NAMES_MAX = 2000  # in a listing
AROUND = 4  # lines that are shown before and after an edit


class EditError(Exception):
    """What the model did wrong, in a sentence."""


class Editor:
    def __init__(self, files: Files, max_characters: int | None = None) -> None:
        self._files = files
        self._max = max_characters

    def do(self, given: Mapping[str, Any]) -> str:
        """One call of the tool: what it answers. Raises EditError."""
        commands = {
            "view": self._view,
            "create": self._create,
            "str_replace": self._replace,
            "insert": self._insert,
        }
        command = commands.get(str(given.get("command")))
        if command is None:
            raise EditError(f"Error: the command is one of {', '.join(commands)}")
        path = given.get("path")
        if not isinstance(path, str) or not path.startswith("/"):
            raise EditError("Error: path has to be absolute, beginning with /")
        try:
            return command(path, given)
        except FileNotFoundError as error:
            raise EditError(f"Error: there is no {path}") from error
        except PffsError as error:
            raise EditError(f"Error: {error}") from error

    def _view(self, path: str, given: Mapping[str, Any]) -> str:
        if self._is_directory(path):
            if given.get("view_range"):
                raise EditError("Error: a directory has no view_range")
            return self._listing(path)
        lines = self._read(path).split("\n")
        if lines[-1] == "":
            lines.pop()
        first, last = self._range(given.get("view_range"), len(lines))
        text = numbered(lines[first - 1 : last], first)
        if self._max is not None and len(text) > self._max:
            text = text[: self._max] + "\n[the rest is left out: use view_range]"
        return text or "(the file is empty)"

    @staticmethod
    def _range(wanted: Any, count: int) -> tuple[int, int]:
        if not wanted:
            return 1, count
        numbers = isinstance(wanted, (list, tuple)) and len(wanted) == 2
        if not numbers or not all(isinstance(n, int) for n in wanted):
            raise EditError("Error: view_range is two numbers, [first line, last line]")
        first, last = wanted
        if last == -1:
            last = count
        if not 1 <= first <= max(count, 1) or last < first:
            raise EditError(f"Error: view_range {wanted} is not in the file's {count} lines")
        return first, min(last, count)

    def _listing(self, path: str) -> str:
        """Two levels of names, without those that begin with a dot."""
        lines = [path]
        for entry in self._files.list(path):
            if entry.name.startswith("."):
                continue
            lines.append(entry.path + "/" * (entry.type == "directory"))
            if entry.type == "directory":
                lines += [
                    below.path + "/" * (below.type == "directory")
                    for below in self._files.list(entry.path)
                    if not below.name.startswith(".")
                ]
            if len(lines) > NAMES_MAX:
                return "\n".join([*lines[:NAMES_MAX], "[more is left out]"])
        return "\n".join(lines)

    def _create(self, path: str, given: Mapping[str, Any]) -> str:
        text = self._text(given, "file_text")
        if self._is_directory(path):
            raise EditError(f"Error: {path} is a directory")
        there = self._files.exists(path)
        self._files.write(path, text)
        return f"{'Replaced' if there else 'Created'} {path}"

    def _replace(self, path: str, given: Mapping[str, Any]) -> str:
        old = self._text(given, "old_str")
        new = self._text(given, "new_str", "")
        text = self._read(path)
        count = text.count(old) if old else 0
        if count != 1:
            raise EditError(
                f"Error: old_str is in {path} {count} times, and has to be there once"
                if old
                else "Error: old_str is empty"
            )
        at = text.index(old)
        self._files.write(path, text[:at] + new + text[at + len(old) :])
        return self._after(path, text[:at].count("\n") + 1, new.count("\n") + 1)

    def _insert(self, path: str, given: Mapping[str, Any]) -> str:
        line = given.get("insert_line")
        new = self._text(given, "insert_text")
        lines = self._read(path).splitlines(keepends=True)
        if not isinstance(line, int) or not 0 <= line <= len(lines):
            raise EditError(f"Error: insert_line is a line from 0 to {len(lines)}")
        if line and not lines[line - 1].endswith("\n"):
            lines[line - 1] += "\n"
        if not new.endswith("\n") and line < len(lines):
            new += "\n"
        lines.insert(line, new)
        self._files.write(path, "".join(lines))
        return self._after(path, line + 1, new.count("\n"))

    def _after(self, path: str, first: int, count: int) -> str:
        """An edit as it looks now."""
        lines = self._files.read_text(path).split("\n")
        start = max(1, first - AROUND)
        shown = lines[start - 1 : first - 1 + count + AROUND]
        return f"Edited {path}. It now reads:\n{numbered(shown, start)}"

    def _read(self, path: str) -> str:
        if self._is_directory(path):
            raise EditError(f"Error: {path} is a directory")
        data = self._files.read(path, 0, FILE_MAX + 1)
        if len(data) > FILE_MAX:
            raise EditError(f"Error: {path} is larger than {FILE_MAX >> 20} MiB")
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise EditError(f"Error: {path} is no text in UTF-8") from error

    def _is_directory(self, path: str) -> bool:
        try:
            entry = self._files.stat(path)
            if entry.type == "symlink":
                self._files.list(path)
                return True
            return entry.type == "directory"
        except FileNotFoundError:
            return False
        except PffsError as error:
            if error.code == "ENOTDIR":
                return False
            raise

    @staticmethod
    def _text(given: Mapping[str, Any], key: str, default: str | None = None) -> str:
        value = given.get(key, default)
        if not isinstance(value, str):
            raise EditError(f"Error: {key} is missing, or no text")
        return value


def numbered(lines: list[str], first: int) -> str:
    """Lines as ``cat -n`` has them."""
    return "\n".join(f"{number:6}\t{line}" for number, line in enumerate(lines, first))
