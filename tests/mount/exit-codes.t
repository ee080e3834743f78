#!/bin/bash
# exit tells how a run ended, as a shell's $? would.
. "$(dirname "$0")/lib.sh"
sandbox demo
is "$(cat demo/exit)" "" "before the first run exit is empty"
is "$(cat demo/stdout)" "" "and so is stdout"

exit_of() { # exit_of exec|bash CODE
	echo "$2" > "demo/$1"
	cat demo/exit
}

is "$(exit_of exec 'pass')" 0 "Python that ends is 0"
is "$(exit_of exec '1 / 0')" 1 "an exception is 1"
like "$(cat demo/stderr)" 'Traceback.*ZeroDivisionError' "with its traceback on stderr"
is "$(exit_of exec 'raise SystemExit(7)')" 7 "SystemExit has its code"
is "$(exit_of exec 'import sys; sys.exit()')" 0 "none is 0"
is "$(exit_of exec 'sys.exit("a reason")')" 1 "a text is 1"
is "$(cat demo/stderr)" "a reason" "and goes to stderr"
is "$(exit_of exec 'sys.exit(300)')" 44 "a large one keeps its low byte, as a process's does"
is "$(exit_of exec 'x = 1; print(x)')" 0 "the REPL went on all the while"

is "$(exit_of bash 'true')" 0 "bash: true"
is "$(exit_of bash 'false')" 1 "bash: false"
is "$(exit_of bash 'exit 42')" 42 "bash: its own code"
is "$(exit_of bash 'no-such-command')" 127 "bash: a command that is not there"
is "$(exit_of bash 'kill -TERM $$')" 143 "killed by SIGTERM is 128 + 15"
is "$(exit_of bash 'kill -KILL $$')" 137 "killed by SIGKILL is 128 + 9"
is "$(exit_of bash 'kill -SEGV $$')" 139 "killed by SIGSEGV is 128 + 11"

echo 'import os; os.kill(os.getpid(), 9)' > demo/exec
is "$(cat demo/exit)" 137 "Python that kills itself is 137"
is "$(exit_of exec 'print("back")')" 0 "and a new one is there for the next run"
is "$(exit_of exec 'print(x)')" 1 "with a state of its own"

# A background process goes on, and does not hold the run's end.
is "$(exit_of bash 'sleep 1000 & echo $! > /tmp/pid; echo started')" 0 "a run ends though it left a process"
is "$(cat demo/stdout)" started "with its output"
is "$(exit_of bash 'kill -0 "$(cat /tmp/pid)" && kill "$(cat /tmp/pid)"')" 0 "which goes on"
done_testing
