#!/bin/bash
# A terminal in pty/ is a shell to type to, that forks, freezes and merges with its
# sandbox; pffs shell is a person at one.
. "$(dirname "$0")/lib.sh"
export PYTHONPATH=$top/tests/mount PYTHONDONTWRITEBYTECODE=1

# good NAME: the Python on standard input ends well.
good() {
	{ echo 'from pty_kit import *'; command cat; } > "$scratch/code.py"
	ok "$1" within "$wait_limit" python3 "$scratch/code.py"
}

sandbox demo
is "$(ls demo/pty)" "" "a sandbox begins without a terminal"
mkdir demo/pty/t
is "$(ls demo/pty/t | paste -sd ' ')" "command data exit size" "mkdir makes one"
is "$(cat demo/pty/t/size demo/pty/t/command | paste -sd :)" "24 80:bash -l" "with the usual size and a shell"
fails_with EEXIST "its name is taken" mkdir demo/pty/t
fails_with EINVAL "a name is checked" mkdir demo/pty/.t
not_ok "a size is two numbers" bash -c 'echo 24 > demo/pty/t/size' 2> "$scratch/ignored"
like "$(cat demo/error)" "ROWS COLS" "as the error says"

wait_for "$wait_limit" state_is demo ready
good "what is typed is run by a shell at a terminal, in /root" <<'CODE'
t = Terminal("demo/pty/t")
t.run("echo sum-$((6*7)) $TERM $(pwd) $(tty)", rb"sum-42 xterm-256color /root /dev/pts/\d+\r\n")
t.run("set -o | grep -E '^(monitor|history)'; shopt login_shell", rb"history\s+on.*monitor\s+on.*login_shell\s+on")
CODE
good "its size is what was written, and a program is told of a change" <<'CODE'
t = Terminal("demo/pty/t")
t.run("stty size", rb"24 80\r\n")
t.run("trap 'echo now $(stty size)' WINCH; echo set-$((1+1))", rb"set-2")
t.put("size", "50 132")
t.wait(rb"now 50 132\r\n")
same(t.get("size"), "50 132\n")
CODE
good "^C interrupts what runs, ^Z stops it, and the shell goes on" <<'CODE'
t = Terminal("demo/pty/t")
t.run("sh -c 'echo on-$((1+1)); exec sleep 1000'", rb"on-2\r\n")
t.type("\x03")
t.run("echo code-$?", rb"code-130\r\n")
t.run("sh -c 'echo on-$((2+2)); exec sleep 1000'", rb"on-4\r\n")
t.type("\x1a")
t.wait(rb"Stopped")
t.run("kill %1; wait; echo over-$((1+1))", rb"over-2")
CODE
good "^D ends it, with its exit code, which exit waits for" <<'CODE'
t = Terminal("demo/pty/end")
exits = os.open("demo/pty/end/exit", os.O_RDONLY | os.O_NONBLOCK)
fails(11, os.read, exits, 10)
t.run("(exit 9); echo is-$((3+3)); (exit 9)", rb"is-6.*[#] $")
t.type("\x04")
assert b"logout" in t.rest()
same(t.get("exit"), "9\n")
same(os.read(exits, 10), b"9\n")
fails(5, t.type, "too late")
os.rmdir("demo/pty/end")
CODE
good "another program than a shell, by command, which is fixed once it runs" <<'CODE'
t = Terminal("demo/pty/c", command="stty size; read -p 'name? ' x; echo hello $x; exit 4", size="30 90")
t.wait(rb"30 90\r\nname\? ")
t.run("you", rb"hello you\r\n")
same(t.get("exit"), "4\n")
fails(16, t.put, "command", "true")
os.rmdir("demo/pty/c")
CODE

command cat > demo/fs/root/full.py <<'CODE'
import curses
def main(screen):
    key = "none"
    while key != "q":
        rows, cols = screen.getmaxyx()
        screen.erase()
        screen.addstr(rows - 1, 0, f"bottom of {rows} by {cols}")
        screen.addstr(0, 0, f"key {key}!")
        key = screen.getkey()
curses.wrapper(main)
CODE
good "a full-screen program draws, gets keys, and draws anew for another size" <<'CODE'
t = Terminal("demo/pty/full", command="python3 full.py", size="30 90")
t.wait(rb"\x1b\[\?1049h.*key none!.*bottom of 30 by 90")
t.type("\x1bOA")
t.wait(rb"KEY_UP")
t.put("size", "40 100")
t.wait(rb"bottom of 40 by 100")
t.type("q")
assert b"\x1b[?1049l" in t.rest()
same(t.get("exit"), "0\n")
os.rmdir("demo/pty/full")
CODE
good "terminals, runs and the REPL do not meet" <<'CODE'
python("demo", "x = 41")
a, b = Terminal("demo/pty/a"), Terminal("demo/pty/b")
a.type("me=a; echo here-$me\n")
b.type("me=b; echo here-$me\n")
same(python("demo", "print(x + 1)"), "42\n")
a.wait(rb"here-a\r\n")
b.wait(rb"here-b\r\n")
assert b"here-b" not in a.seen and b"here-a" not in b.seen
os.system("echo 'kill -9 0' > demo/bash; cat demo/exit > /dev/null; echo reset > demo/ctl")
a.run("echo still-$me", rb"still-a\r\n")
CODE
good "a reader and a writer in one see what they typed come back" <<'CODE'
fd = os.open("demo/pty/a/data", os.O_RDWR | os.O_NONBLOCK)
fails(29, os.lseek, fd, 0, os.SEEK_SET)
os.write(fd, b"echo both-$((5+5))\n")
Screen(fd).wait(rb"here-a.*both-10\r\n.*# $")
fails(11, os.read, fd, 100)
assert not select.select([fd], [], [], 0)[0] and select.select([], [fd], [], 0)[1]
CODE
good "who comes back with the offset that was left gets what was missed, and only that" <<'CODE'
t = Terminal("demo/pty/a")
t.run("echo first-$((1+1)); sleep 2; echo second-$((2+2))", rb"first-2\r\n")
left = len(t.seen)
t.close()
other = Terminal("demo/pty/a")
other.wait(rb"second-4\r\n.*# $")
fd = os.open("demo/pty/a/data", os.O_RDONLY)
os.lseek(fd, left, os.SEEK_SET)
same(os.read(fd, 65536), other.seen[left:])
same(os.pread(fd, 7, other.seen.index(b"first-2")), b"first-2")
same(os.fstat(fd).st_size, len(other.seen))
same(os.lseek(fd, 0, os.SEEK_DATA), 0)
CODE
good "a reader that is too slow stalls nobody, and goes on at the start of a line" <<'CODE'
slow = os.open("demo/pty/a/data", os.O_RDONLY)
head = os.read(slow, 4)
t = Terminal("demo/pty/a")
t.type("seq -f '%09.0f' 60000 | cat; echo end-$((3+4))\n")
t.wait(rb"end-7")
kept = os.lseek(slow, 0, os.SEEK_DATA)
assert 256 << 10 <= os.fstat(slow).st_size - kept <= 300 << 10, kept
os.lseek(slow, 4, os.SEEK_SET)
lines = os.read(slow, 1 << 20).split(b"\r\n")
assert re.fullmatch(rb"\d{9}", lines[0]), lines[0]
numbers = [int(line) for line in lines if re.fullmatch(rb"\d{9}", line)]
same(numbers, list(range(numbers[0], 60001)))
os.lseek(slow, kept, os.SEEK_SET)
assert os.read(slow, 11) == lines[0] + b"\r\n"
CODE
good "keys that nobody reads are refused at last, not waited with" <<'CODE'
t = Terminal("demo/pty/deaf", command="stty raw -echo; echo on; sleep 1000")
t.wait(rb"on")
def fill():
    for _ in range(40):
        os.write(t.keys, b"x" * 65536)
fails(11, fill)
def full():  # at last: the guest's own buffers take some first
    try:
        fill()
    except BlockingIOError:
        pass
    return not select.select([], [t.keys], [], 0)[1]
wait_for(full)
os.rmdir("demo/pty/deaf")
CODE
good "rmdir ends all that was started there, and who reads sees the end" <<'CODE'
t = Terminal("demo/pty/gone")
t.run("setsid nohup sleep 4321 > /dev/null 2>&1 & trap '' HUP; (trap '' HUP; sleep 4322) & echo up-$((1+1))", rb"up-2")
count = "import subprocess; print(subprocess.run(['pgrep', '-fc', '^sleep 432'], capture_output=True, text=True).stdout)"
wait_for(lambda: python("demo", count).strip() == "2")
exits = os.open("demo/pty/gone/exit", os.O_RDONLY)
os.rmdir("demo/pty/gone")
assert not os.path.exists("demo/pty/gone")
t.rest()
same(os.read(exits, 10), b"129\n")
wait_for(lambda: python("demo", count).strip() == "0")
CODE
good "there can be 64" <<'CODE'
names = ["demo/pty/many-%d" % i for i in range(64 - len(os.listdir("demo/pty")))]
for name in names:
    os.mkdir(name)
fails(28, os.mkdir, "demo/pty/more")
for name in names:
    os.rmdir(name)
CODE

good "a fork has the terminal, with what it showed, and goes its own way" <<'CODE'
t = Terminal("demo/pty/a")
t.run("clear; x=1; echo before-$((4+4))", rb"before-8\r\n")
os.mkdir("demo/forks/f")
child = Terminal("demo/forks/f/pty/a")
child.wait(rb"before-8\r\n")
t.run("x=2; echo parent-$((5+5))", rb"parent-10")
child.run("echo child-$((x+5))", rb"child-6\r\n")
child.put("size", "33 99")
child.run("stty size; x=7", rb"33 99")
assert b"parent-10" not in child.seen
time.sleep(0.5)
assert not select.select([t.fd], [], [], 0)[0] or not re.search(rb"child-6", os.read(t.fd, 65536))
assert t.get("size") != "33 99\n"
CODE
good "a merge brings the winner's terminals, whose shells go on; one's own end" <<'CODE'
old = Terminal("demo/pty/a")
with open("demo/merge", "w") as merge:
    merge.write("f\n")
old.rest()
t = Terminal("demo/pty/a")
t.run("echo winner-$x", rb"winner-7\r\n")
same(t.get("size"), "33 99\n")
new = Terminal("demo/pty/new")
new.run("echo new-$((1+1))", rb"new-2")
os.rmdir("demo/pty/new")
CODE

good "a frozen sandbox has its terminals, which a key wakes" <<'CODE'
t = Terminal("demo/pty/a")
t.run("y=freezing; echo cold-$((1+1))", rb"cold-2\r\n")
shown = os.stat("demo/pty/a/data").st_size
with open("demo/ctl", "w") as ctl:
    ctl.write("freeze\n")
wait_for(lambda: "state frozen" in open("demo/status").read())
same(Terminal("demo/pty/a").get("size"), "33 99\n")
assert "state frozen" in open("demo/status").read()
t.run("echo $y-$((1+2))", rb"freezing-3\r\n")
assert os.stat("demo/pty/a/data").st_size > shown
CODE

good "pffs shell is a real terminal: keys, sizes, signals, its exit code" <<'CODE'
s = Shell(os.getcwd() + "/demo", "--new", rows=31, cols=101)
s.wait(rb"\^\] d leaves.*# $")
assert s.is_raw()
s.run("stty size", rb"31 101\r\n")
s.resize(41, 111)
wait_for(lambda: open("demo/pty/1/size").read() == "41 111\n")
s.run("stty size", rb"41 111\r\n")
s.run("sh -c 'echo on-$((1+1)); exec sleep 1000'", rb"on-2\r\n")
s.type("\x03")
s.run("echo code-$?", rb"code-130\r\n")
s.run("echo od-$((1+1)); od -An -c -N2", rb"od-2\r\n")
s.type("\x1d\x1dx\r")
s.wait(rb"035\s+x\r\n")
s.type("exit 42\r")
same(s.code(), 42)
assert s.is_restored()
assert not os.path.exists("demo/pty/1")
CODE
good "who leaves comes back to what was missed" <<'CODE'
demo = os.getcwd() + "/demo"
s = Shell(demo, "--new")
s.wait(rb"# $")
s.run("x=left; echo first-$((1+1)); until [ -e /tmp/go ]; do sleep 0.1; done; echo missed-$((2+2))", rb"first-2\r\n")
s.leave()
assert b"left running" in s.seen and b"missed-4" not in s.seen
open("demo/fs/tmp/go", "w").close()
s = Shell(demo)
s.wait(rb"first-2\r\n.*missed-4\r\n")
s.insist("echo $x-$((3+3))\r", rb"left-6")
other = Shell(demo, "--terminal", "1")
other.wait(rb"left-6")
other.insist("echo both-$((4+4))\r", rb"both-8")
s.wait(rb"both-8")
other.kill(15)
same(other.code(), 143)
assert other.is_restored()
s.type("exit\r")
same(s.code(), 0)
CODE
good "a full-screen program is drawn again for who comes back, and its marks are undone for who leaves" <<'CODE'
demo = os.getcwd() + "/demo"
s = Shell(demo, "--terminal", "full", rows=24, cols=80)
s.wait(rb"# $")
s.run("python3 full.py", rb"\x1b\[\?1049h.*bottom of 24 by 80")
s.type("k")
s.wait(rb"key k|k")
s.leave()
assert s.seen.rindex(b"\x1b[?1047l") > s.seen.rindex(b"\x1b[?1049h")
s = Shell(demo, "--terminal", "full", rows=33, cols=99)
s.wait(rb"\x1b\[\?1049h.*bottom of 33 by 99")
s.insist("j", rb"j")
s.type("q")
s.wait(rb"# $")
s.type("exit\r")
same(s.code(), 0)
CODE
good "a command, its arguments and its exit code; input that is no terminal ends it" <<'CODE'
demo = os.getcwd() + "/demo"
def shell(*arguments, given=""):
    done = subprocess.run([PFFS, "shell", *arguments], input=given.encode(), stdout=subprocess.PIPE, timeout=PATIENCE)
    return done.returncode, done.stdout
same(shell(demo, "--", "printf", "%s|", "a b", "it's", "$x", "two\nlines"), (0, b"a b|it's|$x|two\r\nlines|"))
same(shell("--mount", os.getcwd(), "demo", "--", "sh", "-c", "exit 5")[0], 5)
code, out = shell(demo, given="echo sum-$((40+2))\n(exit 3)\n")
same(code, 3)
assert b"sum-42\r\n" in out, out
same(shell(demo + "/nosuch")[0], 1)
same(shell()[0], 2)
CODE

mkdir "$scratch/only"
ok "a sandbox is mounted by itself" within 60 "$build/pffs/pffs" mount --only "$PWD/demo" "$scratch/only"
good "pffs shell works in it" <<CODE
s = Shell("$scratch/only", "--new")
s.run("echo only-\$((1+1)); exit 8", rb"only-2")
same(s.code(), 8)
CODE
ok "and it ends" within 60 "$build/pffs/pffs" umount "$scratch/only"

good "a machine that dies ends its terminals" <<'CODE'
t = Terminal("demo/pty/a")
t.type("echo b > /proc/sysrq-trigger; sleep 100\n")
t.rest()
same(t.get("exit"), "137\n")
fails(5, t.type, "x")
fails(5, os.mkdir, "demo/pty/late")
os.rmdir("demo/pty/a")
CODE
done_testing
