#!/bin/bash
# A fork of a fork of a fork, ten deep: each has what all above it had, and needs none of them.
. "$(dirname "$0")/lib.sh"
depth=10
sandbox demo
python demo <<< 'values = [0]; open("/root/levels", "w").write("0\n")'
is "$?" 0 "a machine with a value"

add() { # add LEVEL NUMBER: to what the machine remembers and to a file
	python "$1" <<-CODE
	values.append($2)
	with open("/root/levels", "a") as file:
	    file.write("$2\n")
	CODE
}
told() { # what a machine knows
	ask "$1" <<< 'print(*values); print(*open("/root/levels").read().split())'
}
both() { # what it has to know
	printf '%s\n%s' "$1" "$1"
}

level=demo
levels=(demo)
for ((i = 1; i <= depth; i++)); do
	ok "level $i" within "$wait_limit" mkdir "$level/forks/$i" || break
	level=$level/forks/$i
	levels+=("$level")
	sandboxes=("$level" "${sandboxes[@]}")
	is "$(told "$level")" "$(both "$(seq -s ' ' 0 $((i - 1)))")" "has what was there above it"
	ok "and gets a value of its own" add "$level" "$i"
done
is "$(value "$level/status" generation)" "$depth" "status knows how deep it is"
for ((i = 0; i <= depth; i++)); do
	is "$(told "${levels[i]}")" "$(both "$(seq -s ' ' 0 "$i")")" "level $i knows nothing from below"
done

top=demo
for ((i = 1; i <= depth; i++)); do
	sandboxes=("level-$i" "${sandboxes[@]}")
	ok "level $i moves to the root" mv "$top/forks/$i" "level-$i"
	ok "and what was above it goes" within 30 rmdir "$top"
	top=level-$i
done
is "$(told "$top")" "$(both "$(seq -s ' ' 0 "$depth")")" "the last one has all of it, alone"
done_testing
