#!/bin/bash
# Much at once, and for long, in a sandbox's fs/; and what people do there: git, tar,
# rsync, editors, a compiler.
. "$(dirname "$0")/lib.sh"
tree
operations=800 seeds=2 writers=4
if [ "${PFFS_LONG:-}" = 1 ]; then
	operations=20000 seeds=10 writers=8
fi
mkdir "$tree/work" "$scratch/here"
cd "$tree/work" || exit 1

# have PROGRAM: skip what there is no program for.
have() {
	command -v "$1" > /dev/null && return
	[ "${PFFS_MUST_WORK:-}" != 1 ] || fail "$1 is installed"
	echo "# no $1 here: its part is left out"
	return 1
}

# Random operations against a model.
for ((seed = 1; seed <= seeds; seed++)); do
	ok "fsx, seed $seed" "$build/tests/tools/fsx" "$seed" "$operations" "fsx$seed"
done
if has_guest; then
	is "$(echo 'sha256sum < /root/work/fsx1' > ../../../bash; cat ../../../stdout)" \
		"$(sha256sum < fsx1)" "the guest reads what fsx left"
fi

# Several writers, each with a file of its own, and all of them in one directory.
writer() { # writer NUMBER
	"$build/tests/tools/fsx" "$((100 + $1))" "$((operations / 4))" "own$1" > /dev/null || return
	for ((round = 0; round < 25; round++)); do
		mkdir "shared/$1.$round" && echo "$1 $round" > "shared/$1.$round/x" &&
			mv "shared/$1.$round/x" "shared/$1.$round/y" &&
			ln "shared/$1.$round/y" "shared/$1.$round.link" &&
			rm -r "shared/$1.$round" || return
	done
}
mkdir shared
pids=()
for ((i = 0; i < writers; i++)); do
	writer "$i" 2>> "$scratch/writers" &
	pids+=($!)
done
bad=0
for pid in "${pids[@]}"; do
	wait "$pid" || bad=$((bad + 1))
done
is "$bad" 0 "$writers writers at once" || diag "$(command cat "$scratch/writers")"
is "$(find shared -type f | wc -l)" "$((writers * 25))" "what they left is there"
is "$(sort -u shared/*.link | wc -l)" "$((writers * 25))" "with its content"

# A real source tree: unpacked, compared, built.
tar -C "$top" --exclude-vcs --exclude='*.o' --exclude='*.a' -cf "$scratch/source.tar" util wire
mkdir "$scratch/here/source" source
tar -C "$scratch/here/source" -xpf "$scratch/source.tar"
ok "tar unpacks a source tree" tar -C source -xpf "$scratch/source.tar"
ok "as it would elsewhere" diff -r "$scratch/here/source" source
is "$(cd source && find . -printf '%p %y %m %s %T@\n' | sort | grep -v ' d ')" \
	"$(cd "$scratch/here/source" && find . -printf '%p %y %m %s %T@\n' | sort | grep -v ' d ')" \
	"modes, sizes and times, too"
command cat > source/Makefile << 'MAKE'
objects = $(patsubst %.c,%.o,util/buf.c util/error.c util/io.c $(wildcard wire/*.c))
CFLAGS = -std=gnu17 -D_GNU_SOURCE -I.
libsource.a: $(objects)
	$(AR) rcD $@ $^
MAKE
cp source/Makefile "$scratch/here/source"
if have gcc && have make; then
	ok "make builds it there" make -s -j2 -C source CC=gcc
	make -s -j2 -C "$scratch/here/source" CC=gcc
	ok "into the same library" cmp source/libsource.a "$scratch/here/source/libsource.a"
	is "$(make -C source CC=gcc | grep -c 'up to date')" 1 "and make finds it up to date"
fi

# Round trips.
ok "tar packs what it unpacked" tar -C source -cf "$scratch/again.tar" util wire
mkdir "$scratch/here/again"
tar -C "$scratch/here/again" -xpf "$scratch/again.tar"
ok "and nothing differs" diff -r "$scratch/here/again/util" source/util
ok "not by tar's own comparison, either" tar -C source -df "$scratch/again.tar"
ln -s util/buf.c source/link
ln source/util/buf.h source/hard
chmod 640 source/hard
ok "cp -a in" cp -a "$scratch/here/source" copied
ok "cp -a out" cp -a source "$scratch/here/out"
ok "are what they were" diff -r --no-dereference source "$scratch/here/out"
is "$(stat -c '%h %a' "$scratch/here/out/hard")" "2 640" "with hard links and modes"
if have rsync; then
	ok "rsync -aH in" rsync -aH "$scratch/here/out/" synced
	ok "rsync -aH out" rsync -aH synced/ "$scratch/here/back"
	is "$(rsync -aHnic "$scratch/here/out/" "$scratch/here/back")" "" "and finds nothing to do"
	is "$(rsync -aHni source/ synced)" "" "not between two trees there, either"
fi

# git.
if have git; then
	export GIT_CONFIG_GLOBAL=$scratch/gitconfig GIT_CONFIG_SYSTEM=/dev/null
	git config --global user.email test@example.org
	git config --global user.name Test
	git config --global --add safe.directory '*'
	git -C "$scratch/here/source" init -q -b main .
	git -C "$scratch/here/source" add .
	git -C "$scratch/here/source" commit -qm first
	ok "git clone" git clone -q --no-hardlinks "$scratch/here/source" cloned
	is "$(git -C cloned status --porcelain)" "" "git status: clean"
	ok "git fsck" git -C cloned fsck --full --strict
	echo '/* more */' >> cloned/util/buf.h
	is "$(git -C cloned status --porcelain)" " M util/buf.h" "git status: a change"
	ok "git commit" git -C cloned commit -qam second
	ok "git gc" git -C cloned gc -q
	ok "git checkout of what was" git -C cloned checkout -q HEAD~1
	ok "and it is that" diff -r --exclude=.git cloned "$scratch/here/source"
	ok "git pull from there" git -C "$scratch/here/source" pull -q "$tree/work/cloned" main
fi

# Editors and a data base.
printf 'one\ntwo\n' > text
if have vi; then
	ok "vi" within 60 vi -u NONE -es -c 's/two/three/' -c 'x' text < /dev/null
	is "$(command cat text)" $'one\nthree' "saves what it changed"
fi
ok "sed -i" sed -i 's/one/four/' text
is "$(head -n 1 text)" four "so does it"
is "$(find . -maxdepth 1 \( -name '.text*' -o -name 'sed*' -o -name 'text?*' \))" "" "and nothing is left of either"
if have python3; then
	is "$(python3 - << 'END'
import sqlite3
base = sqlite3.connect("base.db")
base.execute("create table t (n integer primary key, s text)")
for n in range(20):
    with base:
        base.executemany("insert into t (s) values (?)", [("x" * n,)] * 20)
other = sqlite3.connect("base.db", timeout=0)
base.execute("begin immediate")
try:
    other.execute("begin immediate")
    print("no lock")
except sqlite3.OperationalError as error:
    print(error)
base.rollback()
print(other.execute("select count(*), sum(length(s)) from t").fetchone())
print(other.execute("pragma integrity_check").fetchone()[0])
END
)" $'database is locked\n(400, 3800)\nok' "sqlite keeps its data base and its locks"
fi

ok "and all of it is removed" rm -r "$tree/work"
done_testing
