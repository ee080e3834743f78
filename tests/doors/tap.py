"""TAP for tests in Python: ok(), is_(), like(), raises(), done()."""

import contextlib
import re
import sys
import traceback

count = failures = 0


def _result(passed, name, *why):
    global count, failures
    count += 1
    print(f"{'ok' if passed else 'not ok'} {count} - {name}", flush=True)
    if not passed:
        failures += 1
        for text in why:
            for line in str(text).splitlines():
                print(f"# {line}"[:2000], file=sys.stderr, flush=True)
    return passed


def ok(value, name):
    return _result(value, name, f"failed: {name}", f"got: {value!r}")


def is_(got, want, name):
    return _result(got == want, name, f"failed: {name}", f"got:  {got!r}", f"want: {want!r}")


def like(text, pattern, name):
    found = re.search(pattern, text)
    return _result(found, name, f"failed: {name}", f"got: {text!r}", f"does not match: {pattern}")


def raises(kind, name, call, /, *arguments, **named):
    """The call fails with an exception of that kind, which is returned."""
    try:
        got = call(*arguments, **named)
    except kind as error:
        _result(True, name)
        return error
    except Exception as error:
        _result(False, name, f"failed: {name}", f"raised {error!r}")
        return None
    _result(False, name, f"failed: {name}", f"returned {got!r}")
    return None


@contextlib.contextmanager
def part(name):
    """What raises in a part of a test fails that part alone."""
    try:
        yield
    except Exception:
        _result(False, name, f"failed: {name}", traceback.format_exc())


def done():
    print(f"1..{count}", flush=True)
    sys.exit(1 if failures else 0)
