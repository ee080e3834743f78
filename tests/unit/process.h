/* For tests: what Linux says of a process. */
#pragma once

#include <stdio.h>
#include <sys/types.h>

/** process_state() - a letter, as in proc_pid_stat(5); 0: there is no such process. */
static inline char process_state(pid_t pid)
{
	char path[32], state = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (file && fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	if (file)
		fclose(file);
	return state;
}
