"""Which system calls VM processes make under their filters, by strace."""
import glob
import os
import re
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "../..")
TRACED = """#!/bin/sh
exec strace -DD -f -qq --pidns-translation -e signal=none -o "$0.$$" "{vmctl}" "$@"
"""


def wrap(folder, vmctl):
    """A program that is vmctl, and writes its calls into files beside it."""
    path = os.path.join(folder, "vmctl")
    with open(path, "w") as f:
        f.write(TRACED.format(vmctl=vmctl))
    os.chmod(path, 0o755)
    return path


def is_traced(path):
    """Does strace still write?"""
    return subprocess.run(["pgrep", "-f", path], stdout=subprocess.DEVNULL, check=False).returncode == 0


def entries():
    """What the comments allow: (profile, entry)."""
    sources = glob.glob(os.path.join(SOURCE, "vmctl/*.c"))
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


def calls(path):
    """Of one trace: (profile, name, arguments)."""
    profile, program = {}, {}
    for thread, text in whole_lines(path):
        found = re.match(r"(\w+)\((.*)", text)
        if not found:
            continue
        name, rest = found.groups()
        if name == "execve":
            program[thread] = "init" if '"init"' in rest else "vm"
        if thread in profile:
            yield profile[thread], name, rest
        if name == "seccomp" and rest.startswith("SECCOMP_SET_MODE_FILTER") and rest.endswith("= 0"):
            profile[thread] = "vcpu" if thread in profile else program.get(thread, "vm")
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


def unused(path):
    """The entries that no call in the traces of the program @path is of."""
    made = {call for trace in glob.glob(path + ".*") for call in calls(trace)}
    return [(profile, entry) for profile, entry in entries()
            if not any((who == profile or (profile, who) == ("vm", "vcpu")) and is_of(entry, name, rest)
                       for who, name, rest in made)]
