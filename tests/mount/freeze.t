#!/bin/bash
# A sandbox is frozen, and resumes by itself where it was: REPL, processes, open files,
# and the run that was going on.
. "$(dirname "$0")/lib.sh"
sandbox demo

frozen() {
	echo freeze > "$1/ctl" && wait_for 60 state_is "$1" frozen
}

python demo <<'CODE'
import threading, time, os
kept = list(range(10))
f = open("/root/open", "w+")
f.write("unflushed ")
beats = 0
def beat():
    global beats
    while True:
        time.sleep(0.05)
        beats += 1
threading.Thread(target=beat, daemon=True).start()
print("first")
CODE
before=$(value demo/status vm)
ok "freeze" frozen demo
is "$(value demo/status vm)" "" "there is no machine any more"
not_ok "nor a process of it" vmctl stat "$before"
is "$(value demo/status run)" 1 "the status is there"
is "$(cat demo/runs/1/stdout) $(cat demo/runs/1/exit) $(cat demo/stdout)" "first 0 first" \
	"and its runs can be read"
is "$(ls -d demo)" demo "it is listed like any other"
like "$(value demo/stats disk_bytes)" '^[1-9][0-9]*$' "its file is counted"
ok "what is read leaves it frozen" state_is demo frozen
ok "freezing it again is nothing" frozen demo

is "$(ask demo <<< 'print(len(kept), os.getpid() > 0)')" "10 True" "a run resumes it, with its variables"
ok "and it is as before" state_is demo ready
is "$(ask demo <<< 'b = beats; time.sleep(0.5); print(beats > b)')" True "threads go on"
is "$(ask demo <<< 'f.write("end"); f.flush(); f.seek(0); print(f.read())')" "unflushed end" "open files, too"

ok "freeze it again" frozen demo
is "$(cat demo/fs/root/open)" "unflushed end" "reading a file resumes it"
is "$(ls demo/fs/root | grep open)" open "and listing works"
ok "frozen once more" frozen demo
ok "resume" eval 'echo resume > demo/ctl; wait_for 60 state_is demo ready'

exec {in}> demo/stdin
cat > demo/exec <<'CODE'
print("begun", flush=True)
for i in range(40):
    time.sleep(0.1)
print(input())
CODE
wait_for 30 grep -q begun demo/last/stdout
ok "freeze in the middle of a run" frozen demo
ok "which is still going on" grep -q "state running" demo/last/status
echo hello >&"$in"
exec {in}>&-
is "$(cat demo/stdout)" $'begun\nhello' "its stdin resumes it, and it goes on to its end"
is "$(cat demo/exit)" 0 "and ends well"

echo 'print("asleep", flush=True); time.sleep(1000)' > demo/exec
wait_for 30 grep -q asleep demo/last/stdout
ok "freeze a run that sleeps" frozen demo
echo interrupt > demo/ctl
like "$(cat demo/stderr)" KeyboardInterrupt "interrupt resumes it for that"

ok "freeze it with what it has learnt" frozen demo
ok "fork it" within 60 mkdir demo/forks/x
sandboxes=("demo/forks/x" "${sandboxes[@]}")
is "$(ask demo/forks/x <<< 'print(len(kept))')" 10 "a frozen one can be forked"
echo "a b" > demo/forks/.n
is "$(ask demo/forks/b <<< 'print(len(kept))')" 10 "many times"
ok "and a fork be frozen" frozen demo/forks/b
ok "and its parent" frozen demo
is "$(ask demo/forks/b <<< 'print(len(kept))')" 10 "each by itself"
ok "what is frozen can be removed" rmdir demo/forks/a demo/forks/b demo/forks/x demo
sandboxes=()
is "$(find "$PFFS_STATE/sandboxes" -name 'sbx_*')" "" "with all that there was of it"

sandbox other
wait_for 120 state_is other ready
not_ok "an unknown verb is refused" eval '{ echo nonsense > other/ctl; } 2> /dev/null'
like "$(cat other/error)" "freeze and resume" "with the ones that there are"
done_testing
