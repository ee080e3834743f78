#!/bin/bash
# One open of exec is one run, however its bytes come; runs go in the order of arrival.
. "$(dirname "$0")/lib.sh"
sandbox demo
runs() {
	value demo/status run
}
is "$(runs)" 0 "no run yet"
echo 'x = 1' > demo/exec
cat demo/exit > "$scratch/exit"
is "$(runs)" 1 "one write is one run"

echo 'print(2)' > "$scratch/b"
{ echo 'print(1)'; command cat "$scratch/b"; } > demo/exec
is "$(cat demo/stdout)" $'1\n2' "{ echo a; cat b; } > exec is one run"
is "$(runs)" 2 "by its number too"

( echo 'print("sub")'; (echo 'print("subsub")') ; echo 'print("end")' ) > demo/exec
is "$(cat demo/stdout)" $'sub\nsubsub\nend' "so is a subshell's, which passes its descriptor on"
is "$(runs)" 3 "by its number"

: > demo/exec
printf '' > demo/exec
is "$(runs)" 3 "an empty write is no run"

exec 5> demo/exec
echo 'print("slow' >&5
is "$(within 3 cat demo/stdout; echo "[$?]")" "[124]" "a reader waits while the writer has not closed"
exec 5>&-
like "$(cat demo/stderr)" SyntaxError "the run starts at the close, once"
is "$(runs)" 4 "and is one"

for i in 1 2 3 4 5; do
	echo "order = globals().get('order', []) + [$i]" > demo/exec
done
is "$(echo 'print(order)' > demo/exec; cat demo/stdout)" "[1, 2, 3, 4, 5]" "runs go in order of arrival"

is "$(cat demo/runs/2/stdout)" $'1\n2' "each run is kept: stdout"
is "$(cat demo/runs/2/code)" $'print(1)\nprint(2)' "its code"
is "$(cat demo/runs/2/language)" python "its language"
is "$(cat demo/runs/2/exit)" 0 "its exit"
is "$(cat demo/runs/2/output)" $'1\n2' "its output"
is "$(cat demo/runs/4/stdout)" "" "its stdout, which may be empty"
is "$(value demo/runs/2/status state)" ended "its status"
is "$(value demo/runs/2/status exit)" 0 "which has the exit too"
is "$(readlink demo/last)" "runs/$(runs)" "last points at the newest"
is "$(cat demo/last/stdout)" "$(cat demo/stdout)" "and shows what stdout shows"
is "$(ls demo/runs | sort -n | tr '\n' ' ')" "1 2 3 4 5 6 7 8 9 10 " "ls shows them all"
done_testing
