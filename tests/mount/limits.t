#!/bin/bash
# config/idle_timeout and max_lifetime end a sandbox, with nobody looking.
. "$(dirname "$0")/lib.sh"
sandbox lasting
python lasting <<< 'pass' # the machine of the template has booted
sandbox idle busy
is "$(cat idle/config/idle_timeout idle/config/max_lifetime)" $'0\n0' "at first there is no limit"
is "$(grep -c _left idle/status)" 0 "and status tells of none"
timeout "$wait_limit" cat events > "$scratch/events" &

echo 'sleep 1000' > busy/bash
echo 2.5 > busy/config/idle_timeout
is "$(cat busy/config/idle_timeout)" 2.5 "what is written can be read"
sandbox short
echo 12 > short/config/max_lifetime
like "$(value short/status life_left)" '^1?[0-9]\.[0-9]$' "status tells what is left of a life"
echo 600 > idle/config/idle_timeout
like "$(value idle/status idle_left)" '^(600|5[0-9][0-9])\.[0-9]$' "and until the sandbox was idle for too long"
echo 2 > idle/config/idle_timeout
ended() { # ended NAME LIMIT
	grep -q "\"sandbox\":\"$1\".*\"limit\":\"$2\"" "$scratch/events" &&
		grep -q "\"event\":\"destroyed\",\"sandbox\":\"$1\"" "$scratch/events"
}
ok "an idle sandbox ends by itself, and events say why" wait_for 30 ended idle idle_timeout
not_ok "it is gone" test -e idle
ok "so does one whose life is over" wait_for 30 ended short max_lifetime
not_ok "that is gone, too" test -e short
is "$(value busy/status state)" running "one that has a run is in use, long after its idle_timeout"
is "$(value busy/status idle_left)" 2.5 "its time has not begun"

exec {file}< busy/fs/etc/hostname
echo kill > busy/ctl
is "$(cat busy/exit)" 137 "the run ends"
sleep 4
ok "an open file of its fs/ is a use" test -e busy
exec {file}<&-
ok "after that has been closed its time begins" wait_for 30 ended busy idle_timeout
not_ok "and it goes" test -e busy

echo 3600 > lasting/config/idle_timeout
within 30 mkdir lasting/forks/a
is "$(cat lasting/forks/a/config/idle_timeout)" 3600 "a fork has the limits of what it was forked from"
echo 0.1 > lasting/config/max_lifetime
waits() {
	grep -qx 'ends_after forks' lasting/status
}
ok "one with forks waits for them when its life is over, and says so" wait_for 30 waits
is "$(value lasting/status life_left)" 0.0 "with nothing left"
within 30 rmdir lasting/forks/a
ok "then it goes" wait_for 30 ended lasting max_lifetime
not_ok "and is gone" test -e lasting

# A persistent one is frozen instead, and is there for who uses it again.
sandbox kept
is "$(cat kept/config/persistent)" off "at first nothing is persistent"
fails_with EINVAL "it is on or off" write kept/config/persistent perhaps
like "$(cat kept/error)" 'on or off' "and error says so"
python kept <<< 'x = 41'
echo on > kept/config/persistent
is "$(cat kept/config/persistent)" on "what is written can be read"
echo 2 > kept/config/idle_timeout
ok "one that is persistent is frozen when it was idle for too long" wait_for "$wait_limit" state_is kept frozen
sleep 5
ok "and stays so" state_is kept frozen
echo 3600 > kept/config/idle_timeout
is "$(ask kept <<< 'print(x + 1)')" 42 "its next use resumes it"
is "$(cat kept/config/persistent kept/config/idle_timeout)" $'on\n3600' "with the limits that it has"

sandbox demo
for name in idle_timeout max_lifetime; do
	for bad in -1 x 1s nan 1e999; do
		fails_with EINVAL "\"$bad\" is no $name" write demo/config/$name "$bad"
		like "$(cat demo/error)" "$name" "and error says so"
	done
done
echo 'sleep 1000' > demo/bash
echo 500 > demo/config/exec_timeout
like "$(value demo/status exec_left)" '^(500|4[0-9][0-9])\.[0-9]$' "status tells what is left of the run's time"
done_testing
