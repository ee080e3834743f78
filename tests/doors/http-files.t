#!/bin/bash
# Files of a sandbox over HTTP: the bytes that went in come out, here and in the mount.
. "$(dirname "$0")/../mount/lib.sh"
[ -n "${PFFS_TEST_HTTP:-}" ] || skip_all "there is no socket"
sandbox files
wait_for "$wait_limit" state_is files ready
api=$PFFS_TEST_HTTP/v1/sandboxes/files
url=$api/files
fs=$PFFS_TEST_MOUNT/files/fs
cd "$scratch" || exit 1

# call PATH [OPTION...]: curl with a deadline; the answer goes to body, its head to head.
call() {
	within "$wait_limit" curl -s -o body -D head -w '%{http_code}' "$url/$1" "${@:2}"
}

# status_is CODE NAME PATH [OPTION...]: of a request for a file.
status_is() {
	is "$(call "${@:3}")" "$1" "$2"
}

header() {
	tr -d '\r' <./head | sed -n "s/^$1: //Ip"
}

# error_is CODE: the body is an error with that code.
error_is() {
	python3 -c 'import json, sys; e = json.load(open("body")); sys.exit(e["code"] != sys.argv[1] or not e["error"])' "$1"
}

entries() {
	python3 -c 'import json
for e in json.load(open("body"))["entries"]: print(e["name"], e["type"], e["mode"], e.get("target", "-"))'
}

head -c 3000000 /dev/urandom >random
status_is 201 "a file that was not there is made, and its directories" root/a/b/random -T random
ok "the mount shows the same bytes" cmp random "$fs/root/a/b/random"
is "$(stat -c '%a %U' "$fs/root/a/b/random")" "644 $(stat -c %U "$fs")" "as a file of the owner"
status_is 200 "it is read" root/a/b/random
ok "byte by byte" cmp random body
is "$(header content-length)" 3000000 "its length is said before"
is "$(header content-type) $(header x-content-type-options)" "application/octet-stream nosniff" "and nobody guesses what it is"
like "$(header last-modified)" '^[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} 20[0-9]{2} [0-9:]{8} GMT$' "when it was written is said"
chmod 750 "$fs/root/a/b/random"
printf 'short\n' >short
status_is 204 "what is there is replaced" root/a/b/random -T short
is "$(cat "$fs/root/a/b/random") $(stat -c %a "$fs/root/a/b/random")" "short 750" "and keeps its mode"
status_is 201 "a mode may be given" root/a/tool?mode=0755 -T short
is "$(stat -c %a "$fs/root/a/tool")" 755 "and is there"
: >empty
status_is 201 "an empty file is one" root/empty -T empty
status_is 200 "and is read" root/empty
is "$(header content-length)" 0 "as such"
printf 'from the mount\n' >"$fs/root/mounted"
status_is 200 "what the mount has written is here" root/mounted
is "$(command cat body)" "from the mount" "as it is"
python3 -c 'import sys; sys.stdout.buffer.write(bytes(range(256)) * 4096)' >million

# Ranges.
status_is 201 "a million bytes" root/million -T million
# range NAME RANGE FROM COUNT: what a Range gives.
range() {
	status_is 206 "$1" root/million -H "Range: bytes=$2"
	ok "it is these bytes" cmp body <(tail -c +$(($3 + 1)) million | head -c "$4")
	is "$(header content-range)" "bytes $3-$(($3 + $4 - 1))/1048576" "and says which"
}
range "a range in the middle" 1000-300999 1000 300000
range "to the end" 1048000- 1048000 576
range "the last bytes" -100 1048476 100
range "more than there is" 1048570-9999999999999999999999 1048570 6
range "one byte" 0-0 0 1
status_is 416 "a range behind the end" root/million -H 'Range: bytes=1048576-'
is "$(header content-range)" "bytes */1048576" "is told how long the file is"
status_is 200 "several ranges are as none" root/million -H 'Range: bytes=0-1,5-6'
ok "all of it comes" cmp body million
status_is 200 "nonsense is no range" root/million -H 'Range: bytes=5-1'
is "$(within "$wait_limit" curl -sI "$url/root/million" -o head -w '%{http_code}')" 200 "HEAD answers"
is "$(header content-length) $(header accept-ranges)" "1048576 bytes" "with the length"

# Conditions.
sleep 2
status_is 200 "a file has a tag" root/million
tag=$(header etag)
like "$tag" '^"[0-9a-f-]+"$' "a strong one when it is some seconds old"
modified=$(header last-modified)
status_is 304 "who has it gets nothing" root/million -H "If-None-Match: $tag"
status_is 304 "nor who has that of its time" root/million -H "If-Modified-Since: $modified"
status_is 200 "another tag is another file" root/million -H 'If-None-Match: "1-2-3"'
status_is 206 "a range of what it was" root/million -H 'Range: bytes=0-0' -H "If-Range: $tag"
printf 'x' >>"$fs/root/million"
status_is 200 "when it has changed, all of it" root/million -H 'Range: bytes=0-0' -H "If-Range: $tag"
is "$(header content-length)" 1048577 "as it is now"
status_is 200 "the tag is another one" root/million -H "If-None-Match: $tag"

# Directories.
mkdir "$fs/root/d" "$fs/root/d/sub"
ln -s /etc/hostname "$fs/root/d/absolute"
python "$PFFS_TEST_MOUNT/files" <<'CODE'
import os
os.symlink("nowhere", "/root/d/dangling")
os.symlink("../../../../../../etc", "/root/d/up")
os.symlink("/root/a/b", "/root/d/away")
os.symlink("loop", "/root/d/loop")
os.mkfifo("/root/d/pipe")
open("/root/d/file", "w").write("12345")
os.chmod("/root/d/file", 0o600)
open(os.fsencode("/root/d/") + b"caf\xc3\xa9\n", "w")
CODE
status_is 200 "a directory is listed" root/d
is "$(entries)" "absolute symlink 0777 $(readlink "$fs/root/d/absolute" | sed 's|^\(\.\./\)*|/|; s|^//|/|')
away symlink 0777 /root/a/b
café
 file 0644 -
dangling symlink 0777 nowhere
file file 0600 -
loop symlink 0777 loop
pipe fifo 0644 -
sub directory 0755 -
up symlink 0777 ../../../../../../etc" "with types, modes and targets, by name"
status_is 200 "of a name alone" 'root/d/file?stat=true'
is "$(python3 -c 'import json; e = json.load(open("body")); print(e["name"], e["path"], e["type"], e["size"], e["mode"], e["uid"], e["gid"])')" \
	"file root/d/file file 5 0600 0 0" "its entry"
status_is 200 "of a link itself" 'root/d/dangling?stat=true'
is "$(python3 -c 'import json; e = json.load(open("body")); print(e["type"], e["target"])')" "symlink nowhere" "with its target"
status_is 200 "the root is a directory" ''
like "$(entries)" 'bin symlink 0777 usr/bin' "as others"
status_is 400 "what is neither file nor directory is not read" root/d/pipe
status_is 201 "a directory is made" 'root/new/deep?type=directory' -X PUT
ok "with those above" test -d "$fs/root/new/deep"
status_is 204 "and may be there" 'root/new/deep?type=directory' -X PUT

# Links.
status_is 200 "a link is followed inside" root/d/absolute
is "$(command cat body)" "$(cat "$fs/etc/hostname")" "to the sandbox's own file"
status_is 200 "never above its root" root/d/up/hostname
is "$(command cat body)" "$(cat "$fs/etc/hostname")" "which is where .. ends"
status_is 204 "a file is written through a link" root/d/away/random -T short
ok "to where it leads" cmp short "$fs/root/a/b/random"
status_is 201 "also one that leads to nothing yet" root/d/dangling -T short
is "$(cat "$fs/root/d/nowhere") $(stat -c %F "$fs/root/d/dangling")" "short symbolic link" "which stays a link"
status_is 400 "links without an end are an error" root/d/loop
ok "with its code" error_is ELOOP
status_is 400 "a file is no directory" root/d/file/below
ok "with that code" error_is ENOTDIR
status_is 404 "what is not there" root/none
ok "is not there" error_is ENOENT
is "$(within "$wait_limit" curl -s -o body -w '%{http_code}' --path-as-is "$url/../../../../../../../etc/passwd")" 200 \
	"nor does a path with .. lead out"
ok "it is the sandbox's" cmp body "$fs/etc/passwd"
status_is 200 "also when it is encoded" '..%2f..%2f..%2f..%2f..%2fetc%2fpasswd'
ok "not the host's" cmp body "$fs/etc/passwd"
status_is 404 "nothing of the guest's /proc is shown" proc/self/status

# Removal.
status_is 204 "a link is removed itself" root/d/away -X DELETE
ok "and not what it leads to" test -e "$fs/root/a/b/random"
status_is 409 "a directory with something in it stays" root/a -X DELETE
ok "because of that" error_is ENOTEMPTY
mkdir -p "$fs/root/a/x/y/z" && touch "$fs/root/a/x/1" "$fs/root/a/x/y/"{1..40}
status_is 204 "unless all of it is to go" 'root/a?recursive=true' -X DELETE
not_ok "it has gone" test -e "$fs/root/a"
status_is 404 "once" root/a -X DELETE
status_is 409 "the root stays" '?recursive=true' -X DELETE

# A tar, there and back.
mkdir tree && cd tree || exit 1
long=$(printf 'n%.0s' {1..200})
mkdir -p "$long/$long" dir && printf 'deep' >"$long/$long/file"
printf 'with a newline' >$'new\nline' && printf 'utf8' >'Zürich ☃' && printf 'bytes' >$'latin-\xe9'
ln -s /etc/passwd out && ln -s dir link && ln -s nowhere dangling
printf 'twice' >one && ln one two && head -c 700000 /dev/urandom >dir/large && : >dir/empty
chmod 4755 one && chmod 700 dir && touch -d '2001-02-03 04:05:06.123456789' dir/large && touch -d 2002-01-01 dir && mkfifo fifo
cd ..
tar --format=pax -C tree -cf tree.tar .
status_is 201 "a tar is taken out where nothing was" 'root/out?format=tar' -T tree.tar
# look DIR: what is there, without times of links.
look() (
	cd "$1" || exit 1
	find . -mindepth 1 \( -type l -printf '%p %y %l\0' -o -type d -printf '%p %y %m\0' -o -printf '%p %y %m %s %n\0' \) |
		LC_ALL=C sort -z | tr '\0' '\n'
	find . -type f -exec md5sum {} + | LC_ALL=C sort
	stat -c '%n %.9Y' dir dir/large
)
python "$PFFS_TEST_MOUNT/files" <<'CODE'
import subprocess
subprocess.run("cd /root/out && tar --format=pax -cf /root/inside.tar .", shell=True, check=True)
CODE
mkdir inside && tar -C inside -xpf "$fs/root/inside.tar"
is "$(look inside)" "$(look tree)" "names, modes, links, times and bytes of all kinds are what they were"
status_is 200 "a directory comes as a tar" 'root/out?format=tar'
is "$(header content-type)" application/x-tar "which is said"
mkdir back && tar --warning=no-unknown-keyword -C back -xpf body
is "$(look back)" "$(look tree)" "with the same in it"
is "$(python3 -c 'import tarfile; print(len(tarfile.open("body").getnames()), tarfile.open("body").getmember("two").linkname)')" "15 one" \
	"other programs read it; a second name is a hard link"
status_is 204 "taken out again it replaces what is there" 'root/out?format=tar' -T body
status_is 200 "of one file" 'root/out/dir/large?format=tar'
is "$(tar -tf body)" large "a tar has that"

# Tars that mean harm.
# evil NAME TYPE [LINK]: a tar with a member of that name.
evil() {
	python3 - "$@" <<'CODE'
import io, sys, tarfile
with tarfile.open("evil.tar", "w") as tar:
    for name, kind, *link in [a.split("|") for a in sys.argv[1:]]:
        member = tarfile.TarInfo(name)
        member.type = {"file": tarfile.REGTYPE, "sym": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "chr": tarfile.CHRTYPE}[kind]
        member.linkname = link[0] if link else ""
        member.size = 4 if kind == "file" else 0
        tar.addfile(member, io.BytesIO(b"evil"))
CODE
}
evil '../escaped|file'
status_is 400 "a name with .. is refused" 'root/t?format=tar' -T evil.tar
not_ok "and nothing is there" test -e "$fs/root/escaped"
evil '/absolute|file'
status_is 204 "an absolute one is below the directory" 'root/t?format=tar' -T evil.tar
is "$(cat "$fs/root/t/absolute")$(ls "$fs/absolute" 2>/dev/null)" evil "and nowhere else"
evil 'x|sym|/root' 'x/through|file'
status_is 400 "nothing is written through a link of a tar" 'root/t?format=tar' -T evil.tar
not_ok "where it leads to nothing is" test -e "$fs/root/through"
evil 'hard|hard|../../etc/passwd'
status_is 400 "no hard link leads out" 'root/t?format=tar' -T evil.tar
evil 'null|chr' 'after|file'
status_is 204 "devices are left out" 'root/t?format=tar' -T evil.tar
is "$(ls "$fs/root/t" | tr '\n' ' ')" "absolute after x " "and the rest is there"
head -c 100000 /dev/urandom >garbage
status_is 400 "what is no tar" 'root/g?format=tar' -T garbage
head -c 12582912 /dev/zero >zeros
status_is 204 "one that ends long before its bytes do" 'root/t?format=tar' -T zeros
status_is 400 "a body for what cannot be there" root/empty/x -T zeros
head -c 300000 tree.tar >cut.tar
status_is 400 "or half of one" 'root/g?format=tar' -T cut.tar

# What is given up leaves nothing.
python3 - "$url/root/half" <<'CODE'
import socket, sys, urllib.parse
where = urllib.parse.urlsplit(sys.argv[1])
s = socket.create_connection((where.hostname, where.port))
s.sendall(f"PUT {where.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n\r\n".encode() + b"x" * 2000000)
s.close()
CODE
nothing_left() {
	[ -z "$(find "$fs/root" -maxdepth 1 -name '.pffs-upload-*')" ]
}
ok "an upload that is cut off leaves nothing" wait_for 20 nothing_left
not_ok "and no file" test -e "$fs/root/half"

# A large file keeps nobody waiting: while its client reads nothing others are answered.
command cat >large.py <<'CODE'
import hashlib, http.client, os, sys, urllib.parse
where = urllib.parse.urlsplit(sys.argv[1])
size, tests = 100 << 20, []

def ok(what, name):
    tests.append(what)
    print("" if what else "not ", "ok ", len(tests), " - ", name, sep="", flush=True)

def connect():
    return http.client.HTTPConnection(where.hostname, where.port, timeout=300)

class Body:
    """100 MiB; in the middle another request is answered."""
    def __init__(self):
        self.left, self.sum, self.between = size, hashlib.sha256(), None
    def __iter__(self):
        while self.left:
            piece = os.urandom(1 << 16) * 16
            self.sum.update(piece)
            self.left -= len(piece)
            if self.left == size // 2:
                self.between = small()
            yield piece

def small():
    other = connect()
    other.request("GET", where.path + "/root/mounted")
    return other.getresponse().read()

body = Body()
up = connect()
up.request("PUT", where.path + "/root/large", body=iter(body), headers={"Content-Length": str(size)})
ok(up.getresponse().status == 201, "100 MiB are written")
ok(body.between == b"from the mount\n", "another request is answered in the middle of it")
down = connect()
down.request("GET", where.path + "/root/large")
answer = down.getresponse()
got = hashlib.sha256(answer.read(1 << 20))
ok(small() == b"from the mount\n", "and while a client does not go on reading")
while piece := answer.read(1 << 20):
    got.update(piece)
ok(got.digest() == body.sum.digest(), "they are read as they were")
left = connect()
left.request("GET", where.path + "/root/large")
left.getresponse().read(1000)
left.close()
ok(small() == b"from the mount\n", "a client that leaves ends nothing")
print(f"1..{len(tests)}")
CODE
take_in python3 large.py "$url"
# One that is frozen is resumed by whoever wants a file.
echo freeze >"$PFFS_TEST_MOUNT/files/ctl"
cd "$PFFS_TEST_MOUNT" || exit 1
wait_for "$wait_limit" state_is files frozen
cd "$scratch" || exit 1
status_is 200 "a file of a frozen sandbox" root/mounted
is "$(command cat body)" "from the mount" "is what it was"
done_testing
