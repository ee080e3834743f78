#!/bin/bash
# The fork point of a fork is kept: its files stand still, whatever becomes of the others.
. "$(dirname "$0")/lib.sh"
sandboxes+=(demo/forks/{x,y} demo)
within 30 mkdir demo
wait_for "$wait_limit" state_is demo ready
cat > demo/exec <<'CODE'
import os
fd, i = os.open("/root/count", os.O_RDWR | os.O_CREAT), 0
while True:
    i += 1
    os.pwrite(fd, b"%08d\n" % i, 0)
CODE
counting() { [ -s demo/fs/root/count ] && [ "$(cat demo/fs/root/count)" -gt 100 ]; }
ok "a program writes without end" wait_for "$wait_limit" counting
ok "its machine is forked" within "$wait_limit" bash -c 'echo x y > demo/forks/.n'
echo kill > demo/forks/x/ctl
is "$(cat demo/forks/x/exit)" 137 "in the fork it is stopped"
sleep 1
was() { sed -n 's/^-\([0-9]*\)$/\1/p' "$1/changes.patch"; }
first=$(was demo/forks/x)
like "$first" '^[0-9]+$' "the fork has changed the file since it was made"
sleep 2
is "$(was demo/forks/x)" "$first" "and stands still"
echo kill > demo/forks/y/ctl
is "$(cat demo/forks/y/exit)" 137 "another one of the same fork is stopped later"
is "$(was demo/forks/y)" "$first" "and has the same fork point"
ok "the fork is moved away" within 30 mv demo/forks/x kept
sandboxes+=(kept)
ok "its sibling goes" within 30 rmdir demo/forks/y
ok "and its parent" within 30 rmdir demo
is "$(was kept)" "$first" "the fork point stays as long as the fork"
done_testing
