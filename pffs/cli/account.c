#include "pffs/cli/account.h"

#include "util/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define USER "pffs"

/* In the range that Debian's policy keeps reserved (30000 to 59999), of which neither
 * adduser nor systemd takes any. */
#define NAMELESS 47733

static int take_user(struct account *account, const char *name)
{
	const struct passwd *user = getpwnam(name);

	if (!user)
		return -ENOENT;
	*account = (struct account){.uid = user->pw_uid, .gid = user->pw_gid};
	snprintf(account->name, sizeof(account->name), "%s", name);
	return 0;
}

static void take_own(struct account *account)
{
	const struct passwd *user = getpwuid(getuid());

	*account = (struct account){.uid = getuid(), .gid = getgid()};
	if (user)
		snprintf(account->name, sizeof(account->name), "%s", user->pw_name);
	else
		snprintf(account->name, sizeof(account->name), "%u", getuid());
}

static int take_number(struct account *account, struct error *err)
{
	if (getpwuid(NAMELESS) || getgrgid(NAMELESS))
		return error_say(err, ENOENT,
				 "there is no user " USER ": `useradd --system " USER
				 "` makes one, or say another one by --user");
	*account = (struct account){.uid = NAMELESS, .gid = NAMELESS, .nameless = true};
	snprintf(account->name, sizeof(account->name), "%d", NAMELESS);
	return 0;
}

int account_choose(const char *wanted, struct account *account, struct error *err)
{
	take_own(account);
	if (account->uid != 0)
		return !wanted || strcmp(wanted, account->name) == 0
			   ? 0
			   : error_say(
				 err, EPERM,
				 "only root can have pffs run as another user (--user)");
	if (wanted)
		return take_user(account, wanted) == 0
			   ? 0
			   : error_say(err, ENOENT, "there is no user %.40s", wanted);
	return take_user(account, USER) == 0 ? 0 : take_number(account, err);
}

/* Its files first: should this be cut short, it is done again. */
static int give(const struct account *account, int dir_fd, struct error *err)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	bool ok = dir;

	while (ok && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			ok = fchownat(fd, entry->d_name, account->uid, account->gid,
				      AT_SYMLINK_NOFOLLOW) == 0;
	if (ok && fchown(fd, account->uid, account->gid) == 0)
		return 0;
	return error_set(err, errno, "cannot give it to user %s", account->name);
}

/* One that serves another user's pffs stays that user's (record.c takes the lock). */
static bool is_in_use(int dir_fd)
{
	cleanup_close int fd = openat(dir_fd, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

int account_own(const struct account *account, const char *path, struct error *err)
{
	cleanup_close int fd = -1;
	struct stat st;
	int r = 0;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return error_set(err, errno, "cannot make %s", path);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(err, errno, "cannot use %s", path);
	if (geteuid() == 0 && st.st_uid != account->uid)
		r = is_in_use(fd) ? error_say(err, EBUSY, "another pffs uses %s", path)
				  : give(account, fd, err);
	return r < 0 ? r : steal_fd(&fd);
}

/* Before the uid, which takes the power to do so along. */
static void drop_bounding(void)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		prctl(PR_CAPBSET_DROP, cap);
}

static int change_user(const struct account *account)
{
	drop_bounding();
	if (setgroups(0, NULL) < 0 ||
	    setresgid(account->gid, account->gid, account->gid) < 0 ||
	    setresuid(account->uid, account->uid, account->uid) < 0)
		return -errno;
	return 0;
}

int account_enter(const struct account *account, struct error *err)
{
	int r = account->uid == geteuid() ? 0 : change_user(account);

	if (r < 0)
		return error_set(err, -r, "cannot become user %s (--user root: stay root)",
				 account->name);
	/* Others with this account, such as another pffs of root's, may not trace it. */
	prctl(PR_SET_DUMPABLE, 0);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_set(err, errno, "cannot give up rights");
	return 0;
}
