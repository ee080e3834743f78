"""Which system calls processes make under their filters, by strace."""
import glob
import os
import re
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "../..")
TRACED = """#!/bin/sh
exec strace -DD -f -qq --pidns-translation -e signal=none -o "$0.$$" "{program}" "$@"
"""


def wrap(folder, program):
    """A program that is @program, and writes its calls into files beside it."""
    path = os.path.join(folder, os.path.basename(program))
    with open(path, "w") as f:
        f.write(TRACED.format(program=program))
    os.chmod(path, 0o755)
    return path


def is_traced(path):
    """Does strace still write?"""
    return subprocess.run(["pgrep", "-f", path], stdout=subprocess.DEVNULL, check=False).returncode == 0


def entries(folders):
    """What the comments in sources allow: (profile, entry)."""
    sources = [each for folder in folders for each in glob.glob(os.path.join(SOURCE, folder, "*.c"))]
    listed = subprocess.run([os.path.join(SOURCE, "support/syscalls"), "--test", *sources], check=True,
                            stdout=subprocess.PIPE, universal_newlines=True).stdout
    return [tuple(line.split(" ", 1)) for line in listed.splitlines()]


def whole_lines(path):
    """Of each call (thread, text), when it has returned, or never will."""
    begun = {}
    with open(path, errors="replace") as f:
        for line in f:
            thread, _, text = line.rstrip("\n").partition(" ")
            text = text.strip()
            if text.endswith("<unfinished ...>"):
                begun[thread] = text[:-len("<unfinished ...>")]
                if "KVM_RUN" not in text and not text.startswith("exit"):
                    continue
            elif text.startswith("<... "):
                text = begun.pop(thread, "") + text.partition(" resumed>")[2]
            yield thread, text


def calls(path, programs):
    """Of one trace: (profile, name, arguments)."""
    default, *named = programs
    profile, program = {}, {}
    for thread, text in whole_lines(path):
        found = re.match(r"(\w+)\((.*)", text)
        if not found:
            continue
        name, rest = found.groups()
        if name == "execve":
            program[thread] = next((each for each in named if f'"{each}"' in rest), default)
        if thread in profile:
            yield profile[thread], name, rest
        if name == "seccomp" and rest.startswith("SECCOMP_SET_MODE_FILTER") and rest.endswith("= 0"):
            profile[thread] = "vcpu" if thread in profile else program.get(thread, default)
        made = re.search(r"= (\d+)(?: /\* (\d+) in strace's PID NS \*/)?$", rest)
        if name == "clone" and made and thread in profile:
            profile[made[2] or made[1]] = profile[thread]


def is_of(entry, name, rest):
    """Is a call what an entry allows?"""
    called, _, condition = entry.rstrip(")").partition("(")
    if not condition:
        return name == called.partition("=")[0]
    wanted = set(condition.partition("==")[2].split("|"))
    words = re.split(r", |\) += ", rest)
    return name == called and any(set(w.strip().replace("flags=", "").split("|")) == wanted
                                  for w in words)


def unused(path, folders=("vmctl",), programs=("vm", "init")):
    """The entries that no call in the traces of the program @path is of.

    @programs: whose filter it is, by a word of the command; the first is that of all others.
    """
    made = {call for trace in glob.glob(path + ".*") for call in calls(trace, programs)}
    return [(profile, entry) for profile, entry in entries(folders)
            if not any((who == profile or (profile, who) == ("vm", "vcpu")) and is_of(entry, name, rest)
                       for who, name, rest in made)]
