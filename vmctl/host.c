#include "vmctl/host.h"

#include "vmctl/serve.h"

#include <errno.h>
#include <unistd.h>

int host_serve(const struct serve_options *options, int listen_fd, struct error *err)
{
	(void)options;
	close(listen_fd);
	return error_say(err, ENOTSUP, "the emulated host is not there yet");
}

int host_init_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return 1;
}
