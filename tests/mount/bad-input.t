#!/bin/bash
# Wrong input gets the errno of the contract and a sentence in error, and changes nothing.
. "$(dirname "$0")/lib.sh"
sandbox demo
python demo <<< 'x = 41'

fails_with EINVAL "an unknown verb" write demo/ctl dance
like "$(cat demo/error)" dance "error names it"
fails_with ESRCH "interrupt without a run" write demo/ctl interrupt
like "$(cat demo/error)" 'run' "error says so"
fails_with ESRCH "kill without a run" write demo/ctl kill
fails_with EINVAL "a verb with more behind it" write demo/ctl 'interrupt now'
fails_with EINVAL "a verb of a million bytes" write-zeros demo/ctl 1000000

fails_with ok "code of 16 MiB is taken" write-zeros demo/exec 16777216
is "$(cat demo/exit)" 0 "and runs"
fails_with EFBIG "one byte more is EFBIG" write-zeros demo/exec 16777217
like "$(cat demo/error)" '16 MiB' "and error says so"
is "$(echo 'print(x + 1)' > demo/exec; cat demo/stdout)" 42 "the sandbox goes on"

fails_with ENOENT "an unknown file" read demo/nothing
fails_with ENOENT "an unknown run" read demo/runs/999/stdout
fails_with ENOENT "a run's name that is none" stat demo/runs/01
fails_with ENOENT "last before the first run" readlink demo/runs/last
for file in demo/file file demo/runs/9 templates/default/file; do
	if [ "$(command "$top/tests/mount/attempt" create "$file")" = ok ]; then
		fail "no file can be made: $file"
	else
		pass "no file can be made: $file"
	fi
done
for operation in "unlink demo/exec" "unlink demo/runs/1/stdout" "unlink README" \
	"rename demo/exec demo/code" "rename README demo/x" "symlink x demo/link" \
	"link demo/exec demo/link" "mkdir demo/dir" "mkdir demo/runs/99" "rmdir demo/runs" \
	"rmdir demo/config" "rmdir templates" "rmdir templates/default" "unlink demo" \
	"write README x" "write demo/status x" "write demo/runs/1/code x" "write host x"; do
	# shellcheck disable=SC2086 # words
	got=$("$top/tests/mount/attempt" $operation)
	if [ "$got" = ok ]; then
		fail "refused: $operation"
	else
		pass "refused: $operation"
	fi
done
is "$(echo 'print(x + 2)' > demo/exec; cat demo/stdout)" 43 "after all that it works as before"

fails_with EINVAL "a template that is not there" write templates/.default nothing
is "$(cat templates/.default)" default "the default is as it was"
fails_with ENOENT "a sandbox of no template" mkdir templates/nothing/forks/x
done_testing
