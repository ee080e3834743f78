/*
 * The host's CA: made once and kept to its owner; and put into the trust store of guests
 * that this test plays.
 */
#include "tests/unit/guest_files.h"

#include "pffs/core/net/ca.h"
#include "pffs/core/net/ca_trust.h"
#include "pffs/core/template.h"

#include <gnutls/x509.h>
#include <sys/wait.h>

#define VM   5u
#define TEXT "BEGIN our own END\n"

static char dir[] = "/tmp/pffs-ca-XXXXXX";
static char path[64];
static struct guest_fs fs = {.vm = VM};
static struct guest_fs *const all[] = {&fs};
static struct sandbox *demo;
static int called, code;
static struct error err;

/* Does it sign for itself, as a CA, for years? */
static void is_ca(const struct ca *ca)
{
	gnutls_datum_t pem = {(unsigned char *)ca->certificate,
			      (unsigned)strlen(ca->certificate)};
	gnutls_x509_crt_t certificate;
	unsigned critical, status = 0;
	int authority = 0, length = -1;

	gnutls_x509_crt_init(&certificate);
	is_int(gnutls_x509_crt_import(certificate, &pem, GNUTLS_X509_FMT_PEM), 0,
	       "there is a certificate");
	gnutls_x509_crt_get_basic_constraints(certificate, &critical,
					      (unsigned *)&authority, &length);
	ok(authority == 1 && length == 0, "of a CA that makes no other CAs");
	gnutls_x509_crt_verify(certificate, &certificate, 1, 0, &status);
	is_int((int)status, 0, "which can be believed");
	ok(gnutls_x509_crt_get_expiration_time(certificate) >
	       time(NULL) + 9 * (time_t)365 * 24 * 3600,
	   "for years");
	gnutls_x509_crt_deinit(certificate);
}

static void made_once(void)
{
	struct ca first, second, third;
	struct stat st;
	FILE *file;

	is_int(ca_open(&first, dir, true, &err), 0, "a CA is made");
	is_ca(&first);
	is_int(stat(path, &st), 0, "and kept");
	is_int((int)(st.st_mode & 07777), 0600, "for its owner alone");
	is_int(ca_open(&second, dir, true, &err), 0, "it is taken up again");
	is_str(second.certificate, first.certificate, "as it was");
	is_str(second.key, first.key, "with its key");
	file = fopen(path, "w");
	fputs("something else\n", file);
	fclose(file);
	ok(ca_open(&third, dir, false, &err) < 0,
	   "what cannot be used is left to its user");
	ca_fini(&third);
	is_int(ca_open(&third, dir, true, &err), 0, "what cannot be used is made anew");
	is_ca(&third);
	ok(strcmp(third.key, first.key) != 0, "with another key");
	ca_fini(&first);
	ca_fini(&second);
	ca_fini(&third);
	unlink(path);
}

static void made_at_once(void)
{
	struct ca ca, kept;
	int status, wrong = 0;

	for (int i = 0; i < 8; i++)
		if (fork() == 0)
			_exit(ca_open(&ca, dir, true, &err) < 0 ||
			      ca_open(&kept, dir, true, &err) < 0 ||
			      strcmp(ca.key, kept.key) != 0);
	while (wait(&status) > 0)
		wrong += status != 0;
	is_int(wrong, 0, "who makes it at once with others has the same");
	unlink(path);
}

static void not_kept(void)
{
	struct ca ca;

	is_int(ca_open(&ca, NULL, true, &err), 0, "without a directory it is not kept");
	is_ca(&ca);
	ca_fini(&ca);
	is_int(ca_open(&ca, "/nowhere", true, &err), -ENOENT,
	       "a directory has to be there");
	ca_fini(&ca);
}

static void trusted(void *ctx, const struct error *err)
{
	(void)ctx;
	called++;
	code = err ? err->code : 0;
}

static const char *trust(void)
{
	const struct guest_file *file;

	called = code = 0;
	ca_trust_begin(demo, TEXT, trusted, NULL);
	guests_work(all, 1);
	is_int(called, 1, "it comes to an end");
	file = guest_find(&fs, CA_TRUST_FILE);
	return file ? file->text : NULL;
}

/* The server of this test writes at the offset: where the end is. */
static bool append(struct guest_fs *guest, const struct files_request *request,
		   struct files_reply *reply)
{
	struct files_request at_end = *request;

	if (request->op != FILES_WRITE)
		return false;
	ok(request->flags & FILES_O_APPEND, "it is appended");
	at_end.offset = strlen(guest_find(guest, CA_TRUST_FILE)->text);
	reply->error = guest_write(guest, &at_end, reply);
	return true;
}

static bool refuse(struct guest_fs *guest, const struct files_request *request,
		   struct files_reply *reply)
{
	(void)guest;
	reply->error = request->op == FILES_WRITE ? ENOSPC : 0;
	return request->op == FILES_WRITE;
}

static void in_a_guest(void)
{
	fs.meddle = append;
	ok(!trust(), "a guest without a trust store gets none");
	is_int(code, -ENOENT, "which is told");
	guest_dir(&fs, "etc");
	guest_dir(&fs, "etc/ssl");
	guest_dir(&fs, "etc/ssl/certs");
	is_str(trust(), TEXT, "one whose store is empty gets a file");
	guest_text(&fs, CA_TRUST_FILE, "others\n");
	is_str(trust(), "others\n" TEXT, "it is behind the others");
	is_str(trust(), "others\n" TEXT, "once");
	guest_text(&fs, CA_TRUST_FILE, "cut off");
	is_str(trust(), "cut off\n" TEXT, "on a line of its own");
	guest_text(&fs, CA_TRUST_FILE, "full\n");
	fs.meddle = refuse;
	is_str(trust(), "full\n", "where there is no room");
	is_int(code, -ENOSPC, "that is told");
	called = 0;
	ca_trust_cancel(ca_trust_begin(demo, TEXT, trusted, NULL));
	guests_work(all, 1);
	is_int(called, 0, "who does not wait any more is told nothing");
}

static void make_sandbox(void)
{
	const char *const names[] = {"demo"};
	struct fork_order order = {.folder = FOLDER_ROOT, .names = names, .count = 1};

	template_fork(&core, 0, &order, NULL, NULL, &err);
	boot_template();
	demo = sandbox_find(&core, FOLDER_ROOT, "demo");
	send_control("{\"seq\":5,\"vms\":[{\"vm\":5,\"pid\":2}],\"pause_usec\":1}");
	say(VM, 0, AGENT_AWAKE, NULL, 0);
	is_str(sandbox_state_name(demo), "ready", "there is a sandbox");
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/" CA_FILE, dir);
	made_once();
	made_at_once();
	not_kept();
	rmdir(dir);
	begin_world();
	make_sandbox();
	in_a_guest();
	buf_fini(&fs.tree);
	end_world();
	return done_testing();
}
