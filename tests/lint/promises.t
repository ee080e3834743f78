#!/usr/bin/env python3
"""docs/promises.md names tests that are there, and words that are in them."""
import os
import re
import sys

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
TEST = re.compile(r'`([\w./-]+)`(?: "([^"]+)")?')


def missing(path, words):
    """Why a test does not keep a promise, or None."""
    try:
        with open(os.path.join(TOP, "tests", path), encoding="utf-8") as test:
            text = test.read()
    except OSError as error:
        return error.strerror
    return None if not words or words in text else f'there is no "{words}"'


def rows():
    """Each promise, and what keeps it."""
    with open(os.path.join(TOP, "docs/promises.md"), encoding="utf-8") as page:
        for line in page:
            cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
            if line.startswith("|") and len(cells) == 2 and cells[0] != "promise":
                yield cells


def main():
    promises = list(rows())
    failed = 0
    print(f"1..{len(promises)}")
    for number, (promise, keeper) in enumerate(promises, 1):
        tests = TEST.findall(keeper)
        why = [f"{path}: {reason}" for path, words in tests
               if (reason := missing(path, words))]
        if not tests and not keeper.startswith(("no test yet", "not promised")):
            why.append("no test is named, and it does not say so")
        print(f"{'not ' if why else ''}ok {number} - {promise.split('#')[0]}")
        for reason in why:
            print(f"# {reason}", file=sys.stderr)
        failed += bool(why)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
