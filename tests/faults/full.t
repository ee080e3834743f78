#!/usr/bin/python3
"""Output that finds no room: the run is told and ends, and what came before is kept."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from world import World, main, read, within  # noqa: E402

MIB = 1 << 20
ROOM = 40 * MIB  # for what does not fit memory, which goes there by halves
KEPT = 64 * MIB  # in memory, of each stream
LINE = MIB // 8


class FullWorld(World):
    """One whose directory for temporary files is small."""

    def start_pffs(self, environment=None):
        self.spool = os.path.join(self.work, "spool")
        os.mkdir(self.spool)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "none", self.spool], check=True)
        super().start_pffs({"TMPDIR": self.spool})

    def end(self):
        wrong = super().end()
        subprocess.run(["umount", "-l", self.spool], check=True)
        return wrong


def test_output(world):
    "a run whose output finds no room is killed, and told so; what it said before is kept"
    world.make("box")
    world.make("other")
    with within(60):
        with open(world.at("box", "exec"), "w", encoding="utf-8") as file:
            file.write(f"slowly(1000000, {LINE})")
        assert read(world.at("box", "exit")) == "137\n"
        assert "output cannot be kept" in read(world.at("box", "error"))
        with open(world.at("box", "runs/1/stdout"), "rb") as file:
            for number in range(KEPT // LINE - 1):
                line = file.read(LINE)
                assert line == (b"line %d" % number).ljust(LINE - 1) + b"\n", number
    assert world.status("box")["state"] == "ready"
    for name in ("box", "other"):
        assert world.run(name, "print(42)") == ("42\n", 0)
    world.remove("box")
    assert os.statvfs(world.spool).f_bavail * os.statvfs(world.spool).f_frsize == ROOM


main(globals(), FullWorld)
