"""Making sandboxes, forking, merging, freezing: mkdir, rmdir and small files."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import select
import time
from collections.abc import Generator, Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, Literal

from pffs.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidRequest,
    MergeConflict,
    NotFound,
    PffsError,
    ServerError,
    of_errno,
)
from pffs.mount.tree import CONFIG, Tree, plainly, put, told_by, values
from pffs.types import Favour, Json

START_LIMIT = 300.0  # seconds that a first boot may take, in an emulated host
FREEZE_LIMIT = 600.0


def wanted_config(options: Json) -> dict[str, str]:
    """The files of config/ and what they get, of the options of POST /v1/sandboxes."""
    options = {key: value for key, value in options.items() if value is not None}
    wanted: dict[str, Any] = {CONFIG[k]: v for k, v in options.items() if k in CONFIG}
    if "timeout_seconds" in options:
        wanted["max_lifetime"] = options["timeout_seconds"]
    if "ram_mib" in options:
        wanted["memory_mib"] = options["ram_mib"]
    if "rootfs_gb" in options:
        wanted["disk_mib"] = options["rootfs_gb"] * 1024
    if "persistent" in wanted:
        wanted["persistent"] = "on" if wanted["persistent"] else "off"
    if isinstance(wanted.get("egress"), bool):
        wanted["egress"] = "on" if wanted["egress"] else "off"
    return {key: str(value) for key, value in wanted.items()}


class SandboxesMixin(Tree):
    def create(self, options: Json) -> Json:
        config = wanted_config(options)
        place = self._make(options.get("name"), options.get("template"))
        try:
            self._wait_until_ready(place)
            self._configure(place, config)
            return self.info(place)
        except BaseException:
            with contextlib.suppress(OSError):
                os.rmdir(place)
            raise

    def _make(self, name: str | None, template: str | None) -> Path:
        with told_by(self.root):
            if not name and not template:
                return self.root / (self.root / "new").read_text().strip()
            name = name or f"sbx-{secrets.token_hex(4)}"
            if "/" in name:
                raise InvalidRequest(f"{name!r} is not a name", code="EINVAL", status=400)
            place = self.root / name
            if not template:
                os.mkdir(place)
                return place
            if not self._is_template(template):
                raise InvalidRequest(f"there is no template {template}", code="EINVAL", status=400)
            if place.exists():
                raise Conflict(f"there is a sandbox {name}", code="EEXIST", status=409)
            first = self.root / "templates" / template / "forks" / name
            os.mkdir(first)
            try:
                os.rename(first, place)
            except OSError:
                os.rmdir(first)
                raise
            return place

    def _is_template(self, name: str) -> bool:
        plain = re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name)
        return plain is not None and (self.root / "templates" / name).is_dir()

    def _named_template(self, name: str) -> Path:
        place = self.root / "templates" / name
        if not self._is_template(name):
            raise NotFound(f"there is no template {name}", code="ENOENT", status=404)
        return place

    def _wait_until_ready(self, place: Path) -> None:
        deadline = time.monotonic() + START_LIMIT
        while True:
            with told_by(self.root):
                status = values(place / "status")
            if status["state"] == "dead":
                raise ServerError(status.get("reason", "it died"), code="EIO", status=500)
            if status["state"] != "starting":
                return
            if time.monotonic() > deadline:
                raise DeadlineExceeded(f"{place.name} does not start", code="ETIMEDOUT", status=504)
            time.sleep(0.05)

    def _configure(self, place: Path, config: dict[str, str]) -> None:
        for key, value in config.items():
            with told_by(place):
                try:
                    put(place / "config" / key, value + "\n")
                except OSError:
                    # More than the machine has is all that it has.
                    most = key in ("memory_mib", "disk_mib", "vcpus") and value.isdigit()
                    if not most or int(value) < 64:
                        raise
                    put(place / "config" / key, "0\n")

    def sandboxes(self) -> list[Json]:
        found = []
        for place, _ in self.walk():
            with contextlib.suppress(PffsError):
                found.append(self.info(place))
        return found

    def sandbox(self, sandbox: str) -> Json:
        return self.info(self.dir(sandbox))

    def configure(self, sandbox: str, options: Json) -> Json:
        place = self.dir(sandbox)
        self._configure(place, wanted_config(options))
        name = options.get("name")
        if name:
            if "/" in name:
                raise InvalidRequest(f"{name!r} is not a name", code="EINVAL", status=400)
            if (self.root / name).exists() and self.root / name != place:
                raise Conflict(f"there is a {name}", code="EEXIST", status=409)
            with told_by(self.root):
                os.rename(place, self.root / name)
            place = self.root / name
        return self.info(place)

    def destroy(self, sandbox: str, forks: Literal["keep", "refuse", "remove"]) -> None:
        try:
            place = self.dir(sandbox)
        except NotFound:
            return
        for name in [] if forks == "refuse" else self.children(place):
            if forks == "remove":
                self._remove_all(place / "forks" / name)
            else:
                with told_by(self.root):
                    os.rename(place / "forks" / name, self._free_name(name))
        with told_by(place):
            os.rmdir(place)

    def _remove_all(self, place: Path) -> None:
        for name in self.children(place):
            self._remove_all(place / "forks" / name)
        with told_by(place):
            os.rmdir(place)

    def _free_name(self, name: str) -> Path:
        place = self.root / name
        while place.exists():
            place = self.root / f"{name}-{secrets.token_hex(2)}"
        return place

    def fork(self, sandbox: str, count: int, names: Sequence[str]) -> list[Json]:
        place = self.dir(sandbox)
        for attempt in range(8):
            chosen = list(names) or self._free_numbers(place, count)
            try:
                with told_by(place):
                    self._fork(place, chosen)
                break
            except Conflict as error:
                if names or error.code != "EEXIST" or attempt == 7:
                    raise  # else somebody else took one of the numbers
        return [self.info(place / "forks" / name) for name in chosen]

    def _free_numbers(self, place: Path, count: int) -> list[str]:
        taken = [int(name) for name in self.children(place) if name.isdigit()]
        first = max(taken, default=0) + 1
        return [str(n) for n in range(first, first + count)]

    @staticmethod
    def _fork(place: Path, names: Sequence[str]) -> None:
        """As many as a write takes at a time, which are all of them, but for very many."""
        for name in names:
            if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
                raise InvalidRequest(f"{name!r} is not a name", code="EINVAL", status=400)
        if len(names) == 1:
            os.mkdir(place / "forks" / names[0])
            return
        text = ""
        for name in names:
            if len(text) + len(name) > 4000:
                put(place / "forks" / ".n", text)
                text = ""
            text += name + " "
        put(place / "forks" / ".n", text)

    def merge_into(self, sandbox: str, winner: str) -> None:
        place, other = self.dir(sandbox), self.dir(winner)
        if other.parent != place / "forks":
            raise InvalidRequest(
                f"{other.name} is no fork of {place.name}", code="EINVAL", status=400
            )
        with told_by(place):
            put(place / "merge", other.name + "\n")

    def merge_files(self, sandbox: str, forks: Sequence[str], favour: Favour | None) -> str:
        place = self.dir(sandbox)
        names = [self.dir(f).name if f.startswith("sbx_") else f for f in forks]
        words = ["files", *([f"--{favour}"] if favour else []), *names]
        try:
            put(place / "merge", " ".join(words) + "\n")
        except OSError as error:
            report = (place / "merge").read_text("utf-8", "replace")
            if "\nresult conflict\n" in report:
                conflict = MergeConflict(
                    f"{place.name} and its forks changed the same files",
                    code="EBUSY",
                    status=409,
                )
                conflict.report = report
                raise conflict from error
            with told_by(place):
                raise
        return (place / "merge").read_text("utf-8", "replace")

    def freeze(self, sandbox: str) -> Json:
        place = self.dir(sandbox)
        return self._become(place, "freeze", "frozen", "freeze_failed")

    def resume(self, sandbox: str) -> Json:
        place = self.dir(sandbox)
        if self.info(place)["state"] != "frozen":
            return self.info(place)
        return self._become(place, "resume", "resumed", "resume_failed")

    def _become(self, place: Path, verb: str, done: str, failed: str) -> Json:
        with contextlib.closing(self._events(place, None, True, FREEZE_LIMIT)) as events:
            with told_by(place):
                put(place / "ctl", verb + "\n")
            for event in events:
                if event["event"] == failed:
                    raise ServerError(event["error"], code="EIO", status=500)
                if event["event"] in (done, "dead"):
                    break
        return self.info(place)

    def control(self, sandbox: str, verb: Literal["interrupt", "kill", "reset"]) -> None:
        place = self.dir(sandbox)
        with told_by(place):
            put(place / "ctl", verb + "\n")

    def stats(self, sandbox: str) -> dict[str, int]:
        place = self.dir(sandbox)
        with told_by(place):
            return {key: int(value) for key, value in values(place / "stats").items()}

    def events(self, sandbox: str | None, since: int | None, follow: bool) -> Iterator[Json]:
        place = self.dir(sandbox) if sandbox else self.root
        return self._events(place, since, follow, None)

    def _events(
        self, place: Path, since: int | None, follow: bool, limit: float | None
    ) -> Generator[Json, None, None]:
        """Opened now, so that nothing that comes from now on is missed."""
        fd = os.open(place / "events", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if since is None:
                os.write(fd, b"now\n")
            elif since > 0:
                os.write(fd, b"%d\n" % since)
        except OSError as error:
            os.close(fd)
            raise of_errno(error, f"there is no event {since}") from error
        return _event_lines(open(fd, "rb", buffering=0), follow, limit)

    def templates(self) -> list[Json]:
        return [
            self._template(self.root / "templates" / name)
            for name in self._names(self.root / "templates")
        ]

    def template(self, name: str) -> Json:
        place = self._named_template(name)
        info = self._template(place)
        for key in ("info", "packages"):
            with contextlib.suppress(OSError):
                info[key] = (place / key).read_text("utf-8", "replace")
        return info

    def _template(self, place: Path) -> Json:
        default = (self.root / "templates" / ".default").read_text().strip()
        info = values(place / "info")
        return {
            "name": place.name,
            "default": place.name == default,
            "made": "built" not in info,
            "created": info.get("built") or info.get("created"),
        }

    def make_template(self, sandbox: str, name: str) -> Json:
        place = self.dir(sandbox)
        with told_by(self.root):
            if (self.root / "templates" / name).exists():
                raise Conflict(f"there is a template {name}", code="EEXIST", status=409)
            os.rename(place, self.root / "templates" / name)
        return self.template(name)

    def set_default_template(self, name: str) -> Json:
        with told_by(self.root):
            self._named_template(name)
            put(self.root / "templates" / ".default", name + "\n")
        return self.template(name)

    def delete_template(self, name: str) -> None:
        place = self._named_template(name)
        with told_by(self.root):
            os.rmdir(place)

    def host(self) -> Json:
        with plainly(str(self.root)):
            found: Json = dict(values(self.root / "host"))
        for key in ("pid", "uptime", "sandboxes", "memory"):
            if key in found:
                found[key] = int(float(found[key]))
        return {**found, "mount": str(self.root)}


def _event_lines(
    file: FileIO, follow: bool, limit: float | None
) -> Generator[Json, None, None]:
    deadline = time.monotonic() + limit if limit else None
    poll = select.poll()
    poll.register(file, select.POLLIN)
    rest = b""
    with file:
        while True:
            piece = file.read(1 << 16)
            if piece == b"":
                return
            if piece is None:
                if not follow:
                    return
                left = max(0.0, deadline - time.monotonic()) if deadline else None
                if not poll.poll(None if left is None else left * 1000):
                    raise DeadlineExceeded("nothing happened", code="ETIMEDOUT", status=504)
                continue
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield json.loads(line)
