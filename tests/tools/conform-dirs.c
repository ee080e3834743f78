/*
 * Directories: large ones, deep ones, and ones that change while they are read.
 */
#include "tests/tools/conform.h"

#define MANY  500
#define SOME  200
#define DEPTH 60

static void name_of(char name[16], int number)
{
	snprintf(name, 16, "n%05d", number);
}

/* Return: the number that a name has, or -1 when it is none of ours. */
static int number_of(const char *name)
{
	char *end;
	unsigned long number = name[0] == 'n' ? strtoul(name + 1, &end, 10) : MANY;

	return number < MANY && strlen(name) == 6 && !*end ? (int)number : -1;
}

static void make_many(const char *dir, int count)
{
	char name[16];
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), failed = 0;

	for (int i = 0; i < count; i++) {
		name_of(name, i);
		int file = openat(fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

		failed += file < 0;
		close(file);
	}
	close(fd);
	is_int(failed, 0, "%d files are made in %s", count, dir);
}

/* How often each number comes; names that are none of ours are counted in @odd. */
static void count_names(DIR *dir, uint8_t *seen, int *odd)
{
	const struct dirent *entry;

	while ((entry = readdir(dir))) {
		int number = number_of(entry->d_name);

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (number >= 0)
			seen[number]++;
		else
			++*odd;
	}
}

static int not_once(const uint8_t *seen, int from, int to)
{
	int wrong = 0;

	for (int i = from; i < to; i++)
		wrong += seen[i] != 1;
	return wrong;
}

static void a_large_directory(void)
{
	static uint8_t seen[MANY];
	struct stat st;
	char name[32];
	int odd = 0, wrong = 0;
	DIR *dir;

	must(mkdir("large", 0755));
	make_many("large", MANY);
	dir = opendir("large");
	count_names(dir, seen, &odd);
	is_int(not_once(seen, 0, MANY), 0, "each is listed once");
	is_int(odd, 0, "and nothing else is");
	rewinddir(dir);
	make_file("large/n-new", "");
	memset(seen, 0, sizeof(seen));
	odd = 0;
	rewinddir(dir);
	count_names(dir, seen, &odd);
	is_int(odd, 1, "rewinddir shows what is new");
	is_int(not_once(seen, 0, MANY), 0, "with all that was there");
	closedir(dir);
	for (int i = 0; i < MANY; i += 97) {
		snprintf(name, sizeof(name), "large/n%05d", i);
		wrong += stat(name, &st) < 0 || !S_ISREG(st.st_mode);
	}
	is_int(wrong, 0, "each is there to stat");
	works(remove_tree("large"), "and all go");
	fails(ENOENT, access("large", F_OK), "with their directory");
}

static void a_directory_that_changes(void)
{
	static uint8_t seen[MANY];
	const struct dirent *entry;
	char name[32];
	int odd = 0, twice = 0;
	DIR *dir;

	must(mkdir("busy", 0755));
	make_many("busy", SOME);
	dir = opendir("busy");
	for (int i = 0; i < 10 && (entry = readdir(dir)); i++)
		if (number_of(entry->d_name) >= 0)
			seen[number_of(entry->d_name)]++;
	for (int i = 0; i < SOME / 2; i++) {
		snprintf(name, sizeof(name), "busy/n%05d", i);
		unlink(name);
		snprintf(name, sizeof(name), "busy/n%05d", SOME + i);
		make_file(name, "");
	}
	count_names(dir, seen, &odd);
	is_int(not_once(seen, SOME / 2, SOME), 0,
	       "what stays while a directory is read is listed once");
	for (int i = 0; i < SOME / 2; i++)
		twice += seen[i] > 1 || seen[SOME + i] > 1;
	is_int(twice, 0, "what comes or goes, at most once");
	closedir(dir);
	dir = opendir("busy");
	while ((entry = readdir(dir)))
		if (entry->d_name[0] == 'n')
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	works(rmdir("busy"), "removing while reading leaves nothing");
}

static void places(void)
{
	DIR *dir;
	long place;
	char name[NAME_MAX + 1];
	const struct dirent *entry;

	must(mkdir("places", 0755));
	make_many("places", 50);
	dir = opendir("places");
	for (int i = 0; i < 20; i++)
		(void)readdir(dir);
	place = telldir(dir);
	entry = readdir(dir);
	snprintf(name, sizeof(name), "%s", entry ? entry->d_name : "");
	while (readdir(dir))
		;
	seekdir(dir, place);
	entry = readdir(dir);
	is_str(entry ? entry->d_name : NULL, name, "seekdir goes back to telldir's place");
	closedir(dir);
}

static void types(void)
{
	const struct dirent *entry;
	int right = 0;
	DIR *dir;

	must(mkdir("types", 0755));
	must(mkdir("types/d", 0755));
	make_file("types/r", "");
	must(mkfifo("types/p", 0644));
	must(symlink("r", "types/l"));
	dir = opendir("types");
	while ((entry = readdir(dir))) {
		struct stat st;

		if (entry->d_name[0] == '.')
			continue;
		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			right += entry->d_ino == st.st_ino &&
				 entry->d_type == IFTODT(st.st_mode);
	}
	is_int(right, 4, "d_type and d_ino are what stat says");
	closedir(dir);
}

static void a_deep_tree(void)
{
	char path[PATH_MAX] = "deep", *end = path + 4, component[64];
	int made = mkdir(path, 0755);

	memset(component, 'd', 60);
	component[60] = '\0';
	for (int i = 0; made == 0 && i < DEPTH; i++) {
		end += snprintf(end, sizeof(path) - (size_t)(end - path), "/%s", component);
		made = mkdir(path, 0755);
	}
	is_int(made, 0, "%d directories, one in the other: %zu bytes of path", DEPTH,
	       strlen(path));
	snprintf(end, sizeof(path) - (size_t)(end - path), "/file");
	make_file(path, "down here");
	is_str(content(path), "down here", "a file at the bottom");
	works(rename("deep", "deeper"), "the top is renamed");
	memmove(path + 6, path + 4, strlen(path + 4) + 1);
	memcpy(path, "deeper", 6);
	is_str(content(path), "down here", "and all is below its new name");
	works(remove_tree("deeper"), "it goes");
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	a_large_directory();
	a_directory_that_changes();
	places();
	types();
	a_deep_tree();
	return end();
}
