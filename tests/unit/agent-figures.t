#!/usr/bin/env python3
"""Figures of runs, from a pyplot that stands in for matplotlib's."""

import os
import struct
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from agent_kit import *  # noqa: E402,F403

PYPLOT = '''
import sys
figures = {}

class Figure:
    def __init__(self, text):
        self.text = text
    def savefig(self, file, format):
        assert format == "png"
        file.write(self.text)

def draw(text):
    figures[max(figures, default=0) + 1] = Figure(text)

def get_fignums():
    return sorted(figures)

def figure(number):
    return figures[number]

def close(figure):
    for number in list(figures):
        if figures[number] is figure:
            del figures[number]

def switch_backend():
    show.__signature__ = None

def show():
    raise RuntimeError("the stand-in's own show()")
'''

library = tempfile.TemporaryDirectory()
os.mkdir(os.path.join(library.name, "matplotlib"))
for name, text in (("__init__.py", ""), ("pyplot.py", PYPLOT)):
    with open(os.path.join(library.name, "matplotlib", name), "w") as file:
        file.write(text)


@test
def nothing_is_imported_for_it(agent):
    run = agent.python("import sys; sys.path.insert(0, %r); print('matplotlib' in sys.modules)" % library.name)
    same(run.out, b"False\n")
    same(run.figures, {})


@test
def what_is_shown_and_what_is_left_open(agent):
    run = agent.python("import matplotlib.pyplot as plt; plt.switch_backend(); plt.draw(b'one'); plt.show(); plt.draw(b'two'); plt.draw(b'3')")
    same((run.code, run.err), (0, b""))
    same(run.figures, {1: b"one", 2: b"two", 3: b"3"})
    same(agent.python("print(plt.get_fignums())").out, b"[]\n")
    same(agent.python("1").figures, {})


@test
def a_figure_is_there_when_it_is_shown(agent):
    run = agent.begin(PYTHON, "plt.draw(b'shown'); plt.show(); input()", b"")
    run.wait(lambda run: run.figures == {1: b"shown"} and run.figures_whole == {1})
    run.send(b"\n").wait()


@test
def a_large_one_comes_whole_before_the_exit(agent):
    run = agent.python("plt.draw(bytes(range(256)) * 16384); plt.draw(b'x')")
    same(run.figures, {1: bytes(range(256)) * 16384, 2: b"x"})
    same(run.figures_whole, {1, 2})


@test
def too_many_and_too_large_are_dropped(agent):
    run = agent.python("for i in range(100): plt.draw(b'%d' % i)")
    same((run.code, len(run.figures)), (0, 64))
    same(agent.python("plt.draw(bytes((16 << 20) + 1)); plt.draw(b'y')").figures, {1: b"y"})
    same(agent.python("plt.draw(b''); plt.draw(b'z')").figures, {1: b"", 2: b"z"})


@test
def one_that_cannot_be_drawn_says_so(agent):
    run = agent.python("plt.figures[1] = object()")
    assert b"savefig" in run.err and run.code == 1, run.err
    same(agent.python("print(plt.get_fignums())").code, 0)


@test
def what_is_no_file_is_no_figure(agent):
    code = "import socket, os; r, w = os.pipe(); s = socket.socket(fileno=os.dup(3))\nsocket.send_fds(s, [b'figure'], [r])"
    same(agent.python(code).figures, {})
    same(agent.python("print(1)").out, b"1\n")


@test
def a_child_draws_for_nobody(agent):
    run = agent.python("import os\nif os.fork() == 0: plt.draw(b'x'); plt.show(); os._exit(0)\nos.wait()")
    same(run.figures, {})


@test
def an_interrupt_ends_the_drawing(agent):
    run = agent.begin(PYTHON, "class Slow:\n  def savefig(self, file, format):\n    print('begun', flush=True)\n    while True: pass\nplt.figures[1] = Slow()")
    run.wait_out(b"begun")
    run.signal(INTERRUPT).wait()
    same(run.code, 130)
    assert b"KeyboardInterrupt" in run.err


main()
