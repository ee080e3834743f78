#!/usr/bin/python3
"""The server answers as its own document says, whatever is asked: schemathesis makes the requests up.

Most is asked of a pffs whose machines are scripted (tests/faults/world.py) and have no files, then a
little of a real mount's, where a sandbox has all. PFFS_TEST_SEED says what is made up.
"""
import glob
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "../..")
os.environ.setdefault("PFFS", os.path.join(os.environ.get("PFFS_BUILD", TOP), "pffs/pffs"))
sys.path.insert(0, os.path.join(TOP, "tests/faults"))
import world  # noqa: E402

CHECKS = ("not_a_server_error,status_code_conformance,content_type_conformance,"
          "response_schema_conformance,negative_data_rejection")
results = []


def ok(what, name, why=""):
    results.append(what)
    print("ok" if what else "not ok", len(results), "-", name, flush=True)
    if not what:
        print("# " + str(why).replace("\n", "\n# "), file=sys.stderr, flush=True)


def ask(http, method, path, body=None):
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(http + path, data, method=method)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read() or b"null")


def make_up(http, names, seconds, *options):
    """Have requests made up. Return: whether all answers were right, and what was said of them."""
    command = [os.path.join(HERE, "env"), "schemathesis", "--config-file", os.devnull, "run",
               http + "/v1/openapi.json", "--checks", CHECKS, "--max-time", str(seconds), "--seed",
               os.environ.get("PFFS_TEST_SEED", "1"), "--generation-database", "none", "--warnings", "off",
               "--no-color", "--no-shrink", "--request-timeout", "30", "--exclude-operation-id", "openPty",
               "--exclude-operation-id", "attachPty", *options]  # these two go on for ever
    environment = {**os.environ, "PFFS_TEST_NAMES": " ".join(names), "PYTHONPATH": HERE,
                   "SCHEMATHESIS_HOOKS": "openapi_hooks"}
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(command, env=environment, cwd=directory, timeout=seconds + 120, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode == 0, done.stdout[-12000:]


def routes():
    """What the tables in pffs/api/ have: METHOD template."""
    found = set()
    for file in glob.glob(os.path.join(TOP, "pffs/api/*.c")):
        with open(file, encoding="utf-8") as source:
            text = source.read()
        names = dict(re.findall(r'^#define (\w+)\s+"(/v1[^"]*)"$', text, re.M))
        for method, macro, rest in re.findall(r'\{"([A-Z]+)",\s*(\w+)?\s*(?:"([^"]*)")?,', text):
            found.add(f"{method} {names.get(macro, '')}{rest}")
    return {route.replace("...}", "}") for route in found}


def same_routes():
    with open(os.path.join(TOP, "pffs/api/openapi.json"), encoding="utf-8") as file:
        document = json.load(file)
    told = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    has = routes()
    ok(len(has) > 40, "the tables of routes are found", has)
    ok(not has - told, "every route is in the document", has - told)
    ok(not told - has, "and nothing else is", told - has)
    return document


def scripted(document):
    """Freezing and templates need real machines."""
    with tempfile.TemporaryDirectory() as directory:
        there = world.World(directory, {"arguments": ("--http", "127.0.0.1:0")})
        try:
            http = "http://" + world.values(there.at("host"))["http"]
            there.make("one")
            there.make("two")
            ok(ask(http, "GET", "/v1/openapi.json") == document, "the server has this document")
            well, said = make_up(http, ("one", "two"), 45, "--phases", "coverage,fuzzing", "-n", "5",
                                 "--exclude-path-regex", "freeze|resume", "--exclude-operation-id",
                                 "makeTemplate")
            ok(well, "what is made up is answered as it says", said)
        finally:
            wrong = there.end()
        ok(not wrong, "and the server is well", f"{wrong}\n{there.said()[-3000:]}")


def real(http):
    """A little, of what the scripted ones have not."""
    name = "openapi"
    ask(http, "POST", "/v1/sandboxes", {"name": name})
    try:
        ask(http, "PUT", f"/v1/sandboxes/{name}/files/root/kept", b"kept")
        well, said = make_up(http, (name,), 40, "--phases", "coverage", "-n", "3", "--include-tag", "files",
                             "--mode", "positive")
        ok(well, "so it is of a sandbox with files", said)
        ok(ask(http, "GET", f"/v1/sandboxes/{name}")["state"] == "ready", "which is well afterwards")
    finally:
        ask(http, "DELETE", f"/v1/sandboxes/{name}")


def main():
    if not os.environ.get("PFFS_TEST_MOUNT") and not os.environ.get("PFFS_TEST_SKIP"):
        setup = os.path.join(TOP, "tests/mount/setup")
        os.execv(setup, [setup, *sys.argv])
    scripted(same_routes())
    if os.environ.get("PFFS_TEST_HTTP"):
        real(os.environ["PFFS_TEST_HTTP"])
    else:
        ok(os.environ.get("PFFS_MUST_WORK") != "1", "a real mount # SKIP there is none")
    print(f"1..{len(results)}")
    sys.exit(not all(results))


main()
