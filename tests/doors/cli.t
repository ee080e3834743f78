#!/bin/bash
# The command line, as a user types it, over the mount's own pffs.
. "$(dirname "$0")/../mount/lib.sh"
PATH=$build/pffs:$PATH
export PATH PFFS_API=$PFFS_TEST_API PYTHONDONTWRITEBYTECODE=1

# status_of COMMAND...: its exit status, for is.
status_of() {
	within "$wait_limit" "$@" > out 2> err
	echo $?
}

# json PROGRAM: what Python makes of the document d on standard input.
json() {
	python3 -c "import json, sys; d = json.load(sys.stdin); print($1)"
}

sandbox demo
cd "$scratch" || exit

# --- create, help ---
is "$(within "$wait_limit" pffs create made --config exec_timeout=9 --config persistent=on)" made "create prints the name"
is "$(command cat "$PFFS_TEST_MOUNT"/made/config/{exec_timeout,persistent} | paste -sd ' ')" "9 on" "with its config"
within "$wait_limit" pffs create --json --template default > new
is "$(json '(d["template"], d["state"])' < new)" "('default', 'ready')" "create --json; a name is made"
within "$wait_limit" pffs rm "$(json 'd["name"]' < new)"
is "$(status_of pffs create made)" 1 "create of one that is there fails"
is "$(status_of pffs create --config nothing=1 x)" 2 "as does a config/ that is not there"
is "$(status_of pffs rm made):$(status_of pffs rm made):$(status_of pffs rm -f made)" 0:1:0 "rm; rm -f of none is well"
like "$(pffs help create; pffs version)" "usage: pffs create.*pffs [0-9]" "help COMMAND, version"

is "$(status_of pffs create new)" 1 "a name that the mount needs is refused"
like "$(command cat err)" "new is a name of the mount's own" "with a sentence"
is "$(status_of pffs create --help):$(tail -n 1 out)" "0:Exit status: 0, 1 when it failed, 2 for bad usage." "help has the exit status"

# --- exec ---
within "$wait_limit" pffs exec demo 'x = 41'
is "$(within "$wait_limit" pffs exec demo 'print(x + 1)')" 42 "exec: Python shares its variables"
is "$(command cat "$PFFS_TEST_MOUNT/demo/runs/2/stdout")" 42 "and the run is in the mount"
is "$(status_of pffs exec demo 'import sys; print("to out"); print("to err", file=sys.stderr); sys.exit(7)')" 7 "exec has the code's exit code"
is "$(command cat out):$(command cat err)" "to out:to err" "and its streams apart"
is "$(status_of pffs exec -b demo 'echo ${BASH##*/}-$((6*7)); exit 9'):$(command cat out)" "9:bash-42" "exec --bash"
is "$(echo 'print("from stdin")' | within "$wait_limit" pffs exec demo)" "from stdin" "code on standard input"
is "$(echo 'print("from -")' | within "$wait_limit" pffs exec demo -)" "from -" "or by -"
is "$(seq 3 | within "$wait_limit" pffs exec -i demo 'import sys; print(sum(map(int, sys.stdin)))')" 6 "exec -i: standard input is the code's"
is "$(printf 'a\nb\n' | while read -r line; do within "$wait_limit" pffs exec demo "print('$line')"; done | paste -sd ' ')" "a b" \
	"without -i it takes nothing from it"
is "$(status_of pffs exec --timeout 0.5 demo 'while True: pass')" 124 "exec --timeout"
is "$(command cat err)" "pffs: killed after 0.5 s: its time limit; Python begins anew, without its variables" "which is said"
is "$(status_of pffs exec nobody 'print(1)')" 125 "a sandbox that is not there is 125"
like "$(command cat err)" "^pffs: .*nobody" "with a sentence"
is "$(status_of pffs exec):$(command cat out err)" "2:pffs exec: an argument is missing; see pffs exec --help" "bad usage is 2, and one line says why"
is "$(status_of pffs exec --nonsense demo 1)" 2 "an option that is not there too"
like "$(command cat err)" "^pffs exec: .*nonsense.*pffs exec: see pffs exec --help$" "whose line begins as the others"
is "$(status_of pffs merge demo x --files --ours --theirs)" 2 "options that exclude each other too"
is "$(within "$wait_limit" pffs exec demo 'import os; os.write(1, bytes(range(256)) * 4096)' > bytes; echo $?)" 0 "any bytes may come"
ok "output is byte for byte" python3 -c 'import sys; assert open("bytes", "rb").read() == bytes(range(256)) * 4096'
is "$(within "$wait_limit" pffs exec demo 'import os, time
for i in range(8): os.write(1 + i % 2, b"%d\n" % i); time.sleep(0.1)' 2>&1 | paste -sd ' ')" "$(seq 0 7 | paste -sd ' ')" \
	"where both streams lead to the same place, in order"
within "$wait_limit" pffs exec --json demo 'import sys; print("a"); print("b", file=sys.stderr); sys.exit(4)' > events
is "$?" 4 "exec --json has the exit code, too"
is "$(python3 -c 'import json; print([(e["type"], e["data"]) for e in map(json.loads, open("events"))])')" \
	"[('stdout', 'a'), ('stderr', 'b'), ('exit', 4)]" "and lines of JSON"
is "$(within "$wait_limit" pffs exec demo 'import time
while True: print("xxx", flush=True); time.sleep(0.1)' | head -n 1)" "xxx" "code whose output nobody reads is killed"

# --- ^C ---
# press NUMBER CODE: run it, and send so many SIGINTs, each when the code has said so.
press() {
	: > told
	pffs exec demo "$2" > told 2> err &
	local pid=$! i
	for ((i = 1; i <= $1; i++)); do
		wait_for "$wait_limit" grep -q "^ready $i" told
		kill -INT "$pid"
	done
	wait "$pid"
}
# A shell's background jobs ignore SIGINT, unless it has job control.
set -m
press 1 'import time
try:
    print("ready 1", flush=True)
    time.sleep(1000)
except KeyboardInterrupt: print("interrupted")
raise SystemExit(5)'
is "$?:$(tail -n 1 told)" "5:interrupted" "^C is KeyboardInterrupt, and the code's own end is waited for"
: > told
pffs exec --json demo 'print("ready", flush=True); import time; time.sleep(1000)' > told 2> err &
wait_for "$wait_limit" grep -q ready told
kill -INT $!
wait $!
is "$?:$(tail -n 1 told | json 'd["data"]')" "130:130" "also with --json"
press 2 'import time
n = 1
while True:
    try:
        print("ready", n, flush=True)
        time.sleep(1000)
    except KeyboardInterrupt: n += 1'
is "$?" 137 "a second ^C kills"
set +m

# --- stdin as it comes ---
mkfifo typed
pffs exec -i demo 'for _ in range(2): print("got", input(), flush=True)' < typed > answers &
exec 3> typed
echo one >&3
ok "what is typed reaches the code while it runs" wait_for "$wait_limit" grep -q "got one" answers
echo two >&3
wait $!
is "$?:$(tail -n 1 answers)" "0:got two" "which ends without an end of its standard input"
exec 3>&-

# --- ls, tree, fork, rm ---
within "$wait_limit" pffs exec demo 'x = "before"'
is "$(within "$wait_limit" pffs fork demo a b)" "$(printf '%s\n' demo/forks/a demo/forks/b)" "fork NAME... prints paths"
is "$(within "$wait_limit" pffs fork demo 2 | wc -l)" 2 "fork N"
is "$(within "$wait_limit" pffs fork --json demo c | json 'd["sandboxes"][0]["path"]')" demo/forks/c "fork --json"
is "$(within "$wait_limit" pffs exec demo/forks/a 'print(x)')" before "a fork has the variables"
like "$(within "$wait_limit" pffs ls)" "SANDBOX .*STATE.*demo/forks/a +ready" "ls"
ok "ls -q has the paths" grep -qx demo/forks/b <(within "$wait_limit" pffs ls -q)
is "$(within "$wait_limit" pffs ls --json | json '[s["forks"] for s in d["sandboxes"] if s["path"] == "demo"]')" "[5]" "ls --json"
mkdir "$PFFS_TEST_MOUNT/demo/forks/a/forks/deep"
is "$(LC_ALL=C within "$wait_limit" pffs tree demo | sed 's/ *ready.*//' | sed -n '2p;5,6p')" "$(printf '%s\n' demo '|- a' '|  `- deep')" "tree"
is "$(within "$wait_limit" pffs tree --json demo | json '[c["name"] for c in d[0]["children"] if c["children"]]')" "['a']" "tree --json is nested"
is "$(within "$wait_limit" pffs tree --json demo | json 'd[0]["memory"] > 0')" True "with memory"
is "$(status_of pffs rm demo/forks/a)" 1 "rm of one with forks is refused"
like "$(command cat err)" "-r removes them" "with what removes them"
is "$(status_of pffs rm -r demo/forks/a demo/forks/c)" 0 "rm -r takes them"
not_ok "and they are gone" test -e "$PFFS_TEST_MOUNT/demo/forks/a"
is "$(status_of pffs rm demo/forks/a)" 1 "rm of none is a failure"
like "$(command cat err)" "no sandbox" "that is said"

# --- names ---
id=$(value "$PFFS_TEST_MOUNT/demo/forks/b/status" id)
is "$(within "$wait_limit" pffs exec "$id" 'print(x)')" before "a sandbox by its id"
is "$(within "$wait_limit" env -u PFFS_API pffs exec "$PFFS_TEST_MOUNT/demo/forks/b/" 'print(x)')" before "by a path into the mount, which names the pffs too"
is "$(cd "$PFFS_TEST_MOUNT/demo/forks" && within "$wait_limit" env -u PFFS_API pffs exec b 'print(x)')" before "from inside the mount"
is "$(cd "$PFFS_TEST_MOUNT/demo/forks" && within "$wait_limit" env -u PFFS_API pffs exec demo/forks/b 'print(x)')" before "which names the pffs as well"
is "$(PFFS_API=/nowhere within "$wait_limit" pffs exec "$PFFS_TEST_MOUNT/demo/forks/b" 'print(x)')" before "a path into a mount is of that mount's pffs, whatever PFFS_API says"
is "$(status_of pffs rm --api "$scratch/typed" "$PFFS_TEST_MOUNT/demo/forks/b")" 1 "and not of another one"
like "$(command cat err)" "another pffs" "as is said"
is "$(status_of env PFFS_API=/nowhere pffs sh demo -- true < /dev/null):$(status_of pffs sh --api /nowhere demo -- true < /dev/null)" 1:1 "sh goes by PFFS_API and --api"
is "$(status_of env PFFS_API=/nowhere pffs template freeze demo x):$(status_of pffs template freeze --api /nowhere demo x)" 1:1 "and so does template freeze"

# --- templates ---
is "$(status_of pffs template freeze demo/forks/b warm-by-cli)" 0 "template freeze"
like "$(within "$wait_limit" pffs template list)" "default.*warm-by-cli" "template list has it"
is "$(within "$wait_limit" pffs template list --json | json '[t["name"] for t in d["templates"] if t.get("made")]')" "['warm-by-cli']" "with --json"
is "$(status_of pffs template rm warm-by-cli):$(status_of pffs template rm warm-by-cli)" 0:1 "template rm"
is "$(command cat err)" "pffs: there is no template warm-by-cli" "says that there is none, at once"

# --- diff, merge ---
echo base > base && within "$wait_limit" pffs cp base demo:shared
within "$wait_limit" pffs fork demo left right > forks
within "$wait_limit" pffs exec -b demo/forks/left 'echo left > l; echo left > shared'
within "$wait_limit" pffs exec -b demo/forks/right 'echo right > r; echo right > shared'
is "$(within "$wait_limit" pffs diff demo left)" "$(printf 'A root/l\nM root/shared')" "diff"
is "$(within "$wait_limit" pffs diff --path root/l demo left)" "A root/l" "diff --path"
like "$(within "$wait_limit" pffs diff --patch demo left)" "-base
\+left" "diff --patch"
is "$(within "$wait_limit" pffs diff --json demo left | json '(d["added"], d["modified"])')" "(['root/l'], ['root/shared'])" "diff --json" ||
	within "$wait_limit" pffs diff --json demo left >&2
is "$(within "$wait_limit" pffs diff demo/forks/left)" "$(printf 'A root/l\nM root/shared')" "diff of one: its changes"
is "$(status_of pffs merge --files demo left right)" 1 "merge --files with a conflict fails"
like "$(command cat out)" "root/shared" "and names it"
like "$(command cat err)" "pffs merge --files --ours" "with what decides it"
not_ok "and changes nothing" test -e "$PFFS_TEST_MOUNT/demo/fs/root/l"
is "$(status_of pffs merge --files --json demo left right)" 1 "with --json too"
is "$(json 'd["merged"]' < out)" False "which says so"
is "$(status_of pffs merge --files --ours demo left right)" 0 "merge --files --ours"
is "$(within "$wait_limit" pffs exec -b demo 'cat l r shared' | paste -sd ' ')" "left right left" "takes all that is no conflict, and what was merged first of what is"
is "$(within "$wait_limit" pffs merge --json demo left | json 'd["path"]')" demo "merge, --json"
is "$(within "$wait_limit" pffs exec -b demo 'cat shared'; ls "$PFFS_TEST_MOUNT/demo/forks" | grep -c left)" "left
0" "it is what its fork was, which has gone"

# --- cp ---
head -c 3000000 /dev/urandom > big
chmod 750 big
is "$(status_of pffs cp big demo:/tmp/big):$(status_of pffs cp demo:/tmp/big back)" 0:0 "cp there and back"
ok "is the same" cmp big back
is "$(stat -c %a back)" 750 "with its mode"
mkdir -p tree/sub && echo 1 > tree/one && echo 2 > 'tree/sub/two words' && ln -s one tree/link
is "$(status_of pffs cp tree demo:)" 1 "a directory takes -r"
is "$(status_of pffs cp -r tree demo:):$(status_of pffs cp -r demo:tree copy)" 0:0 "cp -r there and back"
ok "is the same" diff -r tree copy
is "$(readlink copy/link)" one "links too"
mkdir into && within "$wait_limit" pffs cp -r demo:tree into && within "$wait_limit" pffs cp demo:/root/tree/one into/
is "$(ls into | paste -sd ' ')" "one tree" "into a directory that is there"
is "$(echo stream | within "$wait_limit" pffs cp - demo:/tmp/s && within "$wait_limit" pffs cp demo:/tmp/s -)" stream "cp from and to a stream"
is "$(status_of pffs cp -r demo:tree demo/forks/b:/tmp/copied):$(within "$wait_limit" pffs cp demo/forks/b:/tmp/copied/one -)" 0:1 "cp from one sandbox to another"
is "$(status_of pffs cp big "$PFFS_TEST_MOUNT/demo:made/new/big"):$(cmp big "$PFFS_TEST_MOUNT/demo/fs/root/made/new/big")" 0: "SANDBOX is a path into the mount; directories are made"
is "$(status_of pffs cp demo:/nothing .)" 1 "cp of nothing fails"
is "$(status_of pffs cp big back)" 1 "cp from here to here is not ours"

# --- logs, events ---
within "$wait_limit" pffs exec demo 'import sys; print("one"); print("two", file=sys.stderr)' > ignored 2>&1
within "$wait_limit" pffs logs demo > out 2> err
is "$(command cat out):$(command cat err)" "one:two" "logs: the newest run's streams"
is "$(within "$wait_limit" pffs logs demo 2)" 42 "logs of another run"
is "$(within "$wait_limit" pffs logs --json demo | json '(d["stdout"], d["exit_code"])')" "('one\n', 0)" "logs --json"
mkfifo go
(pffs exec -i demo 'for word in ("first", "second"):
    print(word, flush=True)
    input()' < go > ignored) &
exec 3> go
wait_for "$wait_limit" grep -q first ignored
pffs logs -f demo > followed &
ok "logs -f shows what was" wait_for "$wait_limit" grep -q first followed
not_ok "and not what will be" grep -q second followed
printf '\n\n' >&3
exec 3>&-
wait
is "$(paste -sd ' ' followed)" "first second" "and then what comes, to the end"
like "$(within "$wait_limit" pffs events demo | head -n 1)" "^[0-9TZ:.-]+ +[a-z_]+ +demo" "events of one"
is "$(within "$wait_limit" pffs events --json demo | python3 -c 'import json, sys; print({json.loads(l)["sandbox"] for l in sys.stdin})')" "{'demo'}" "events --json"
timeout 60 pffs events -f > happened &
follower=$!
wait_for "$wait_limit" test -s happened
mkdir "$PFFS_TEST_MOUNT/fleeting" && rmdir "$PFFS_TEST_MOUNT/fleeting"
ok "events -f goes on" wait_for "$wait_limit" grep -q "destroyed *fleeting" happened
kill "$follower"
wait "$follower" 2> ignored

# --- top, freeze, resume ---
like "$(within "$wait_limit" pffs top)" "SANDBOX +STATE +CPU-S.*demo +ready +[0-9.]+ +[0-9.]+[KMG]" "top, once"
is "$(within "$wait_limit" pffs top --json | json '[s["stats"]["runs"] > 3 for s in d["sandboxes"] if s["path"] == "demo"]')" "[True]" "top --json"
ok "top at a terminal: live, until q" within "$wait_limit" python3 - <<'CODE'
import os, pty, select, termios, time
master, slave = pty.openpty()
before = termios.tcgetattr(slave)
pid = os.fork()
if pid == 0:
    os.setsid()
    for fd in range(3):
        os.dup2(slave, fd)
    os.execvp("pffs", ["pffs", "top"])
seen, deadline = b"", time.monotonic() + 60
while seen.count(b"CPU%") < 2 and time.monotonic() < deadline:
    if select.select([master], [], [], 1)[0]:
        seen += os.read(master, 65536)
os.write(master, b"q")
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert code == 0 and termios.tcgetattr(slave) == before, (code, seen)
assert seen.count(b"CPU%") >= 2 and b"demo" in seen, seen
CODE
within "$wait_limit" pffs exec demo 'x = "kept"'
is "$(status_of pffs freeze demo):$(value "$PFFS_TEST_MOUNT/demo/status" state)" 0:frozen "freeze"
is "$(status_of pffs resume demo):$(value "$PFFS_TEST_MOUNT/demo/status" state)" 0:ready "resume"
is "$(within "$wait_limit" pffs exec demo 'print(x)')" kept "with all it had"

# --- run ---
printf '%s\n' 'import sys' 'print(sys.argv, __name__)' 'print(sys.stdin.read(), end="", file=sys.stderr)' 'sys.exit(6)' > script.py
before=$(within "$wait_limit" pffs ls -q | wc -l)
is "$(echo input | status_of pffs run script.py 'a b' "it's")" 6 "run has the program's exit code"
is "$(command cat out):$(command cat err)" "['script.py', 'a b', \"it's\"] __main__:input" "its arguments, and its streams"
is "$(within "$wait_limit" pffs ls -q | wc -l)" "$before" "and no sandbox is left"
printf '%s\n' '# héllo 🐍' 'def f(): raise ValueError("\\n🐍")' 'f()' > fails.py
is "$(status_of pffs run fails.py x < /dev/null)" 1 "an exception is 1"
like "$(command cat err)" 'File "fails.py", line 3, in <module>.*f\(\).*ValueError' "its traceback has the file's lines"
printf '%s\n' 'echo "$# $2"' 'exit 3' > script.sh
is "$(status_of pffs run script.sh a 'b  c' < /dev/null):$(command cat out)" "3:2 b  c" "a .sh is bash"
printf '%s\n' '#!/usr/bin/perl' 'print "perl @ARGV\n"; exit 2' > program
is "$(status_of pffs run program x y < /dev/null):$(command cat out)" "2:perl x y" "a #! line is understood"
is "$(echo 'print("piped")' | within "$wait_limit" pffs run -)" piped "run -"
is "$(echo 'import sys; print(sys.argv)' | within "$wait_limit" pffs run - one two)" "['-', 'one', 'two']" "with arguments"
is "$(within "$wait_limit" pffs run --in demo script.py one < /dev/null)" "['script.py', 'one'] __main__" "run --in, with arguments"
is "$(within "$wait_limit" pffs run --in demo <(echo 'print(x)') < /dev/null)" kept "run --in"
is "$(status_of pffs run --keep script.sh < /dev/null)" 3 "run --keep"
within "$wait_limit" pffs run --keep --json script.sh < /dev/null > kept.json 2> ignored
is "$(tail -n 1 kept.json | json '(d["type"], d["data"], d["sandbox"][:4], d["name"][:4])'):$(head -n 1 kept.json | json 'd["data"]')" \
	"('exit', 3, 'sbx_', 'run-'):0 " "run --keep --json: its last line says which, too"
within "$wait_limit" pffs rm "$(tail -n 1 kept.json | json 'd["sandbox"]')"
kept=$(sed -n 's/^pffs: the sandbox is //p' err)
ok "says which sandbox there is" test -d "$PFFS_TEST_MOUNT/$kept/fs"
within "$wait_limit" pffs rm "$kept"
is "$(status_of pffs run nothing.py)" 125 "run of no file is 125"
is "$(status_of pffs run --json script.sh < /dev/null):$(tail -n 1 out | json '(d["type"], d["data"])')" "3:('exit', 3)" "run --json"
printf '%s\n' 'print("on", flush=True)' 'while True: pass' > endless.py
set -m
: > told
pffs run endless.py < /dev/null > told 2> err &
wait_for "$wait_limit" grep -q on told
kill -TERM $!
wait $!
is "$?" 137 "SIGTERM kills what runs"
set +m
is "$(within "$wait_limit" pffs ls -q | wc -l)" "$before" "and its sandbox goes"

# --- which pffs ---
mkdir "$scratch/runtime"
is "$(status_of env -u PFFS_API PFFS_RUNTIME_DIR="$scratch/runtime" pffs ls)" 1 "where no pffs runs, that is said"
like "$(command cat err)" "no pffs runs: .*pffs mount" "with what to do"
is "$(status_of pffs --api /nowhere ls):$(status_of pffs ls --api /nowhere)" "2:1" "nor at a socket that is not there"
is "$(status_of pffs stop)" 1 "stop is not for a mount"
like "$(command cat err)" "pffs umount" "and says what is"
done_testing
