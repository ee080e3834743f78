#!/usr/bin/env python3
"""The guest's agent, run as an ordinary process, through its protocol."""

import hashlib
import os
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from agent_kit import *  # noqa: E402,F403


@test
def python_keeps_variables_between_runs(agent):
    same_run(agent.python("x = 41"), b"")
    same_run(agent.python("print(x + 1)"), b"42\n")
    assert agent.runs[2].started


@test
def values_are_not_echoed(agent):
    same_run(agent.python("1 + 1"), b"")


@test
def an_exception_shows_the_users_lines_only(agent):
    run = agent.python("def f():\n    return 1 / 0\n\nf()\n")
    number = run.stream
    expected = (
        "Traceback (most recent call last):\n"
        '  File "<run %d>", line 4, in <module>\n    f()\n'
        '  File "<run %d>", line 2, in f\n    return 1 / 0\n'
    ) % (number, number)
    text = "\n".join(
        line for line in run.err.decode().split("\n") if line.strip(" ~^") or not line
    )
    same(text, expected + "ZeroDivisionError: division by zero\n")
    same(run.code, 1)
    second = agent.python("f()")
    assert b'<run %d>", line 2, in f\n    return 1 / 0' % number in second.err, second.err


@test
def a_chained_exception_is_shown_whole(agent):
    run = agent.python("try:\n    {}['k']\nexcept KeyError as e:\n    raise ValueError('v') from e")
    assert b"KeyError: 'k'" in run.err and b"ValueError: v" in run.err, run.err
    assert b"repl.py" not in run.err
    same(run.code, 1)


@test
def a_syntax_error_is_shown_with_its_line(agent):
    run = agent.python("print(1)\nif True print(2)\n")
    assert b"line 2" in run.err and b"SyntaxError" in run.err, run.err
    assert b"if True print(2)" in run.err and b"Traceback" not in run.err, run.err
    same((run.out, run.code), (b"", 1))


@test
def bytes_that_are_no_source_are_an_error(agent):
    same(agent.python(b"x = '\xff'").code, 1)
    same(agent.python(b"x = 1\x00").code, 1)
    same_run(agent.python("print('still here')"), b"still here\n")


@test
def system_exit_has_pythons_codes(agent):
    same_run(agent.python("raise SystemExit"), b"")
    same_run(agent.python("import sys; sys.exit(3)"), b"", b"", 3)
    same_run(agent.python("sys.exit('a reason')"), b"", b"a reason\n", 1)
    same(agent.python("sys.exit(-1)").code, 255)
    same(agent.python("sys.exit(256 + 7)").code, 7)
    same_run(agent.python("exit(4)"), b"", b"", 4)
    same_run(agent.python("print(x)"), b"41\n")


@test
def sys_exit_in_a_thread_ends_the_thread(agent):
    same_run(
        agent.python(
            "import threading\n"
            "t = threading.Thread(target=lambda: sys.exit(9)); t.start(); t.join()\n"
            "print('on')"
        ),
        b"on\n",
    )


@test
def input_without_a_writer_is_end_of_file(agent):
    run = agent.python("input()")
    assert run.err.endswith(b"EOFError: EOF when reading a line\n"), run.err
    same(run.code, 1)


@test
def input_reads_what_is_fed(agent):
    run = agent.run(PYTHON, "a = input('? '); b = input(); print(a, b)", b"one\ntwo\nthree\n")
    same_run(run, b"? one two\n")
    run = agent.run(PYTHON, "print(input())", b"fresh\n")
    same_run(run, b"fresh\n")


@test
def stdin_ends_after_the_bytes_that_were_fed(agent):
    run = agent.begin(PYTHON, "import sys; print(len(sys.stdin.read()))", b"x" * 60000)
    run.wait(lambda r: r.taken == 60000).send(b"y" * 60000).send(eof=True)
    same_run(run.wait(), b"120000\n")
    same(run.taken, 120000)
    same_run(agent.begin(BASH, "wc -c", b"abc").send(eof=True).wait(), b"3\n")


@test
def a_program_that_closed_its_stdin_takes_bytes_all_the_same(agent):
    mark = os.path.join(agent.dir.name, "mark")
    run = agent.begin(BASH, "exec <&-; echo closed; until [ -e %s ]; do sleep 0.05; done; echo end" % mark, b"")
    run.wait_out(b"closed")
    for _ in range(3):
        run.send(b"z" * 40000)
        run.wait(lambda r, n=run.taken + 40000: r.taken >= n)
    open(mark, "w").close()
    same_run(run.wait(), b"closed\nend\n")
    os.unlink(mark)


@test
def a_line_is_sent_while_the_run_goes_on(agent):
    run = agent.begin(PYTHON, "import time\nprint('first')\ntime.sleep(20)")
    run.wait_out(b"first\n")
    same(run.status, None)
    same(run.signal(INTERRUPT).wait().code, 130)
    run = agent.begin(BASH, "echo first; sleep 20").wait_out(b"first\n")
    run.signal(INTERRUPT).wait()


@test
def ten_mebibytes_are_exact(agent):
    run = agent.python(
        "import sys, hashlib, random\n"
        "data = random.Random(1).randbytes(10 << 20)\n"
        "n = sys.stdout.buffer.write(data)\n"
        "print(hashlib.sha256(data).hexdigest(), end='', file=sys.stderr)"
    )
    same(len(run.out), 10 << 20)
    same(hashlib.sha256(run.out).hexdigest().encode(), run.err)
    run = agent.bash("head -c 10485760 /dev/zero | tr '\\0' '\\377'")
    same(run.out.count(b"\xff"), 10 << 20)


@test
def output_waits_for_a_slow_reader(agent):
    run = agent.begin(BASH, "head -c 4000000 /dev/zero; echo done >&2")
    time.sleep(0.3)
    with open("/proc/%d/statm" % agent.process.pid) as file:
        assert int(file.read().split()[1]) * 4096 < 8 << 20
    run.wait()
    same((len(run.out), run.err), (4000000, b"done\n"))


@test
def stderr_is_apart(agent):
    same_run(agent.python("import sys; print('o'); print('e', file=sys.stderr)"), b"o\n", b"e\n")
    same_run(agent.bash("echo o; echo e >&2; exit 5"), b"o\n", b"e\n", 5)


@test
def subprocesses_and_system_write_to_the_run(agent):
    code = "import subprocess, os\nsubprocess.run(['echo', 'sub'])\nos.system('echo sys >&2')"
    same_run(agent.python(code), b"sub\n", b"sys\n")


@test
def an_interrupt_keeps_the_state(agent):
    run = agent.begin(PYTHON, "x = 5\nprint('on')\nwhile True: pass").wait_out(b"on")
    run.signal(INTERRUPT).wait()
    same(run.code, 130)
    assert run.err.endswith(b"KeyboardInterrupt\n") and b"repl.py" not in run.err, run.err
    same_run(agent.python("print(x)"), b"5\n")


@test
def an_interrupt_can_be_caught(agent):
    code = (
        "import time\n"
        "try:\n    print('on')\n    time.sleep(20)\nexcept KeyboardInterrupt:\n    print('caught')"
    )
    run = agent.begin(PYTHON, code).wait_out(b"on")
    same_run(run.signal(INTERRUPT).wait(), b"on\ncaught\n")


@test
def an_interrupt_on_the_way_into_a_system_call_is_not_lost(agent):
    # Python's handler does not run when a signal comes just before the call.
    for i in range(100):
        run = agent.begin(PYTHON, "print('on')\nfor i in range(%d): pass\ntime.sleep(20)" % i)
        begin = time.monotonic()
        run.wait_out(b"on").signal(INTERRUPT).wait()
        assert time.monotonic() - begin < 10, "the interrupt came late"
        same(run.code, 130)


@test
def an_interrupt_right_away_is_not_lost(agent):
    for _ in range(20):
        run = agent.begin(PYTHON, "import time; time.sleep(20)").signal(INTERRUPT).wait()
        same(run.code, 130)
    same_run(agent.python("print(x)"), b"5\n")


@test
def an_interrupt_at_the_end_harms_nothing(agent):
    pid = agent.python("import os; print(os.getpid())").out
    for i in range(200):
        run = agent.begin(PYTHON, "for i in range(%d): pass" % (i * 40))
        run.wait(lambda r: r.started)
        run.signal(INTERRUPT).wait()
        assert run.code in (0, 130), run.status
        same_run(agent.python("y = 1"), b"")
    same(agent.python("print(os.getpid())").out, pid)


@test
def an_interrupt_reaches_every_process_of_a_shell_run(agent):
    run = agent.begin(BASH, "echo on; sleep 20; echo not reached").wait_out(b"on")
    same_run(run.signal(INTERRUPT).wait(), b"on\n", b"", 130)


@test
def a_kill_ends_all_that_the_run_started(agent):
    code = "sleep 300 & echo $!; (trap '' INT TERM; exec sleep 300)"
    run = agent.begin(BASH, code).wait_out(b"\n")
    same(run.signal(KILL).wait().status, (1, 9))
    assert gone(int(run.out)), "a background process survived"


@test
def a_kill_of_python_spares_older_processes(agent):
    old = int(agent.python("import subprocess as s\np = s.Popen(['sleep', '300'])\nprint(p.pid)").out)
    run = agent.begin(
        PYTHON,
        "p = s.Popen(['sleep', '300'])\nprint(p.pid, flush=True)\nwhile True: pass",
    ).wait_out(b"\n")
    same(run.signal(KILL).wait().status, (1, 9))
    assert gone(int(run.out)), "a process of the killed run survived"
    os.kill(old, 0)
    os.kill(old, signal.SIGKILL)
    same_run(agent.python("print('x' in globals())"), b"False\n")


@test
def runs_that_have_not_begun_can_be_stopped(agent):
    first = agent.begin(PYTHON, "import time; print('on'); time.sleep(20)").wait_out(b"on")
    second = agent.begin(PYTHON, "print('second')").signal(INTERRUPT)
    third = agent.begin(PYTHON, "print('third')").signal(KILL)
    fourth = agent.begin(PYTHON, "print('fourth')")
    same_run(second.wait(), b"", b"", 130)
    same(third.wait().status, (1, 9))
    same(first.signal(INTERRUPT).wait().code, 130)
    same_run(fourth.wait(), b"fourth\n")


@test
def the_repl_may_die(agent):
    same_run(agent.python("import os; print('last'); os._exit(7)"), b"last\n", b"", 7)
    same_run(agent.python("print('again')"), b"again\n")
    run = agent.python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    same(run.status, (1, 11))
    same_run(agent.python("print('again')"), b"again\n")
    run = agent.python("import os; os.closerange(3, 100); import time; time.sleep(20)")
    same((run.status, b"descriptors" in run.err), ((1, 9), True))
    same_run(agent.python("print('again')"), b"again\n")


@test
def a_repl_that_dies_between_runs_costs_no_run(agent):
    code = "import os, threading\nprint(os.getpid())\nthreading.Timer(0.3, os._exit, (1,)).start()"
    assert gone(int(agent.python(code).out)), "it lives on"
    for _ in range(3):
        same_run(agent.python("print('here')"), b"here\n")


@test
def a_reset_forgets_everything(agent):
    agent.python("z = 1")
    run = agent.begin(PYTHON, "print('on')\nwhile True: pass").wait_out(b"on")
    agent.send(RESET)
    waiting = agent.begin(PYTHON, "print('z' in globals())")
    same(run.wait().status, (1, 9))
    agent.wait_seen(RESET_DONE)
    same_run(waiting.wait(), b"False\n")
    agent.send(RESET)
    agent.send(RESET)
    agent.wait_seen(RESET_DONE, 3)


@test
def a_background_process_does_not_hold_the_end(agent):
    go, mark = (os.path.join(agent.dir.name, name) for name in ("go", "mark"))
    run = agent.bash("echo front; (until [ -e %s ]; do sleep 0.05; done; echo late && touch %s) &" % (go, mark))
    same_run(run, b"front\n")
    open(go, "w").close()
    until(lambda: os.path.exists(mark), "the background process did not go on")
    os.unlink(go)
    os.unlink(mark)
    same(agent.late, [])


@test
def a_background_flood_does_not_hold_the_end(agent):
    run = agent.bash("yes & echo $!")
    pid = int([line for line in run.out.split() if line.isdigit()][0])
    same_run(agent.python("print('on')"), b"on\n")
    os.kill(pid, signal.SIGKILL)
    same(agent.late, [])


@test
def a_forked_child_ends_with_the_code(agent):
    run = agent.python(
        "import os\npid = os.fork()\n"
        "if pid:\n    os.waitpid(pid, 0)\nprint('child' if pid == 0 else 'parent')"
    )
    same_run(run, b"child\nparent\n")
    run = agent.python("pid = os.fork()\nif pid == 0: raise SystemExit(3)\nprint(os.wait()[1] >> 8)")
    same_run(run, b"3\n")


@test
def await_works_at_the_top_level(agent):
    code = "import asyncio\nawait asyncio.sleep(0.01)\nq = asyncio.Queue()\nprint('slept')"
    same_run(agent.python(code), b"slept\n")
    same_run(agent.python("await q.put(3)\nprint(await q.get())"), b"3\n")
    run = agent.python("async def f(): raise KeyError('k')\nawait f()")
    assert b"asyncio" not in run.err and b"in f\n" in run.err, run.err
    same(run.code, 1)
    same_run(agent.python("print(asyncio.run(asyncio.sleep(0, 'ran')))"), b"ran\n")
    run = agent.begin(
        PYTHON,
        "try:\n    print('on')\n    await asyncio.sleep(20)\nfinally:\n    print('cleaned')",
    ).wait_out(b"on")
    run.signal(INTERRUPT).wait()
    same((run.out, run.code), (b"on\ncleaned\n", 130))
    assert run.err.endswith(b"KeyboardInterrupt\n") and b"asyncio" not in run.err, run.err
    same(agent.python("import sys\nawait asyncio.sleep(0)\nsys.exit(6)").code, 6)


@test
def a_replaced_stdout_is_undone(agent):
    same_run(agent.python("import sys, io\nsys.stdout = io.StringIO()\nprint('lost')"), b"")
    same_run(agent.python("print('back')"), b"back\n")
    same(agent.python("sys.stdout.close(); sys.stderr.close()").code, 0)
    same_run(agent.python("print('back'); 1/0").wait(), b"back\n", agent.runs[agent.next].err, 1)
    same(agent.python("import os; os.close(1); os.close(2)").code, 0)
    same_run(agent.python("print('back')"), b"back\n")


@test
def a_logging_handler_survives_its_run(agent):
    agent.python("import logging\nlogging.basicConfig(format='%(message)s')")
    same_run(agent.python("logging.warning('careful')"), b"", b"careful\n")


@test
def hard_cases_leave_the_repl_alive(agent):
    run = agent.python("def r(n): return r(n + 1)\nr(0)")
    assert b"RecursionError" in run.err
    same(run.code, 1)
    run = agent.python("x = bytearray(1 << 62)")
    same((run.code, b"MemoryError" in run.err), (1, True))
    run = agent.python("class E(Exception):\n    def __str__(self): raise ValueError\nraise E")
    same((run.code, b"E" in run.err), (1, True))
    same_run(agent.python("print('alive')"), b"alive\n")


@test
def main_is_a_real_module(agent):
    code = (
        "import pickle, multiprocessing\n"
        "class P:\n    pass\n"
        "assert type(pickle.loads(pickle.dumps(P()))) is P\n"
        "def double(n): return 2 * n\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "    print(pool.map(double, range(3)), __name__)\n"
        "import inspect, sys\nprint(inspect.getsource(double), sys.argv, sep='')"
    )
    same_run(agent.python(code), b"[0, 2, 4] __main__\ndef double(n): return 2 * n\n['']\n")


@test
def future_features_hold_from_then_on(agent):
    agent.python("from __future__ import annotations")
    same_run(agent.python("def f(a: nowhere): pass\nprint(f.__annotations__)"), b"{'a': 'nowhere'}\n")


@test
def bash_has_its_own_environment(agent):
    run = agent.bash('echo "$HOME $USER $LANG $TERM $PWD ${PYTHONUNBUFFERED-unset}"; umask')
    same_run(run, b"/root root C.UTF-8 dumb /root unset\n0022\n")
    run = agent.bash("ls /proc/self/fd | wc -l; trap; awk '{print $1 == $6}' /proc/$$/stat")
    same_run(run, b"4\n1\n")


@test
def a_script_runs_by_its_first_line(agent):
    same_run(agent.run(SCRIPT, "#!/bin/sh\necho $((6 * 7))"), b"42\n")
    same_run(agent.run(SCRIPT, "#! /usr/bin/env python3\nimport sys; sys.exit(4)"), b"", b"", 4)
    run = agent.run(SCRIPT, "#!/no/such/program -x\n")
    same_run(run, b"", b"/no/such/program: No such file or directory\n", 127)
    same_run(agent.run(SCRIPT, "#!/etc\n"), b"", b"/etc: Permission denied\n", 126)
    same(agent.run(SCRIPT, "#!\n").code, 126)


@test
def runs_at_the_same_time_do_not_mix(agent):
    runs = [agent.begin(BASH, "for i in 1 2 3 4 5; do echo %d; sleep 0.02; done" % n) for n in range(8)]
    runs.append(agent.begin(PYTHON, "import time\nfor i in range(5):\n print('p'); time.sleep(0.02)"))
    for n, run in enumerate(runs[:8]):
        same_run(run.wait(), b"%d\n" % n * 5)
    same_run(runs[8].wait(), b"p\n" * 5)


@test
def long_code_is_taken(agent):
    code = "a = 1\n" + "# %s\n" % ("x" * 1000) * 16000 + "print('end')"
    same_run(agent.python(code), b"end\n")
    same_run(agent.bash(code.replace("a = 1", "a=1").replace("print('end')", "echo end")), b"end\n")


@test
def an_empty_run_ends_well(agent):
    for language in (PYTHON, BASH):
        same_run(agent.run(language, ""), b"")


@test
def frames_of_runs_that_ended_are_ignored(agent):
    run = agent.bash("true")
    run.send(b"late", eof=True).signal(KILL)
    agent.send(CODE, 9999, b"x")
    same_run(agent.bash("echo on"), b"on\n")


@test
def frames_carry_the_epoch_of_the_wake(agent):
    same(agent.epochs, {0})
    agent.send_wake(9)
    agent.epochs.clear()
    same_run(agent.bash("true"), b"")
    same(agent.epochs, {9})


SEED = "import random; random.seed(1); state = random.getstate()"
WATCH = """
import threading, time
def watch():
    while random.getstate() == state:
        time.sleep(0.01)
    open(%r, 'w').close()
watcher = threading.Thread(target=watch)
"""


@test
def a_wake_does_not_wait_for_a_run_when_a_thread_is_there(agent):
    mark = os.path.join(agent.dir.name, "mark")
    agent.python(SEED + WATCH % mark + "watcher.start()")
    agent.wake(9)
    until(lambda: os.path.exists(mark), "it waits for a run")
    os.unlink(mark)
    same(agent.python("watcher.join()").code, 0)


@test
def a_wake_does_not_wait_for_a_run_when_a_handler_is_there(agent):
    mark = os.path.join(agent.dir.name, "mark")
    pid = int(agent.python(SEED + """
import os, signal
def look(*_):
    if random.getstate() != state:
        open(%r, 'w').close()
signal.signal(signal.SIGALRM, look)
print(os.getpid())
""" % mark).out)
    agent.wake(9)
    until(lambda: os.kill(pid, signal.SIGALRM) or os.path.exists(mark), "it waits for a run")
    agent.python("signal.signal(signal.SIGALRM, signal.SIG_IGN)")
    os.unlink(mark)
    agent.python("signal.signal(signal.SIGALRM, signal.SIG_DFL)")


@test
def wakes_during_a_run_reseed_it(agent):
    run = agent.begin(PYTHON, SEED + """
import time
print("seeded", flush=True)
while random.getstate() == state:
    time.sleep(0.01)
""")
    run.wait_out(b"seeded")
    count = agent.seen.count(AWAKE)
    agent.send_wake(9)
    agent.send_wake(10)
    agent.wait_seen(AWAKE, count + 2)
    same_run(run.wait(), b"seeded\n")


CHANGED = "print(random.random() == random.Random(1).random())"


@test
def a_wake_seeds_python(agent):
    agent.python("import random; random.seed(1)")
    agent.wake(10)
    same_run(agent.python(CHANGED), b"False\n")


@test
def a_wake_seeds_python_in_the_middle_of_a_run(agent):
    code = (
        "import random\nrandom.seed(1)\ntwin = random.Random(1)\nprint('on')\n"
        "while random.random() == twin.random(): pass"
    )
    run = agent.begin(PYTHON, code).wait_out(b"on")
    agent.wake(11)
    same_run(run.wait(), b"on\n")


@test
def a_wake_seeds_python_that_is_not_warm_yet(_):
    with tempfile.NamedTemporaryFile("w", suffix=".py") as slow:
        slow.write("import random, time\nrandom.seed(1)\ntime.sleep(1)\n")
        slow.write("exec(compile(open(%r).read(), %r, 'exec'))\n" % (REPL, REPL))
        slow.flush()
        agent = Agent(slow.name)
        time.sleep(0.5)
        agent.wake(1)
        same_run(agent.python("import random\n" + CHANGED), b"False\n")
        agent.end()


@test
def a_machine_is_ready_when_python_waits(_):
    """Its forks need not do what is left to do."""
    with tempfile.TemporaryDirectory() as directory:
        repl, done = os.path.join(directory, "repl.py"), os.path.join(directory, "done")
        with open(repl, "w", encoding="ascii") as file:
            file.write("import contextlib, socket, time\nsock = socket.socket(fileno=3)\nsock.send(b'warm')\n"
                       "until = time.monotonic() + 0.2\nwhile time.monotonic() < until: pass\n"
                       "with contextlib.suppress(OSError):\n open(%r, 'w').close()\nsock.recv(1)\n" % done)
        agent = Agent(repl)
        agent.wait_seen(READY, 1)
        same(os.path.exists(done), True)
        agent.end()


@test
def an_interrupt_during_a_wake_is_not_lost(agent):
    for i in range(100):
        run = agent.begin(PYTHON, "print('on')\nwhile True: pass").wait_out(b"on")
        agent.send_wake(12 + i)
        time.sleep(i * 0.00005)
        same(run.signal(INTERRUPT).wait().code, 130)


@test
def the_host_hears_that_programs_stand_still(agent):
    agent.send(HOLD, 0, struct.pack("<I", 60000))
    agent.wait_seen(HELD, 1)
    same(agent.held, [1])
    agent.send(HOLD, 0, struct.pack("<I", 60000))  # more time needs no answer
    agent.send(HOLD, 0, struct.pack("<I", 0))
    same(agent.python("print(1)").out, b"1\n")
    same(agent.held, [1])


@test
def what_runs_leave_running_is_in_the_way_of_none(_):
    agent = Agent()
    left = []
    for _ in range(13):  # each has two pipes, until it ends
        for run in [agent.begin(BASH, "sleep 300 & echo $!") for _ in range(40)]:
            same(run.wait().code, 0)
            left.append(int(run.out))
    assert open_files(agent) > 1024, "these are too few to be in the way"
    same(agent.bash("ulimit -Sn").out, b"1024\n")
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    agent.end()


@test
def ended_runs_leave_nothing(agent):
    agent.python("import gc; gc.collect()")
    for _ in range(3):
        agent.bash("true")
    until(lambda: not os.listdir(agent.dir.name), "files are left")
    # stdio; epoll, signals, port and its pipe, REPL
    until(lambda: open_files(agent) == 3 + 6, "descriptors are left")


@test
def nothing_follows_an_exit(agent):
    same(agent.late, [])


main()
