#include "vmctl/machine.h"

#include "util/cleanup.h"
#include "util/io.h"
#include "vmctl/acpi.h"
#include "vmctl/boot.h"
#include "vmctl/platform.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLEEP_ENABLE	 0x20 /* ACPI 6.4, 4.8.3.7 */
#define SLEEP_TYPE_SHIFT 2
#define SLEEP_TYPE_MASK	 7

static const unsigned window_gsi[MACHINE_WINDOWS] = {PLATFORM_GSI_0, PLATFORM_GSI_1,
						     PLATFORM_GSI_2, PLATFORM_GSI_3,
						     PLATFORM_GSI_4, PLATFORM_GSI_5};

static void set_line(void *opaque, unsigned gsi, bool high)
{
	struct machine *m = opaque;

	kvm_set_irq(&m->kvm, gsi, high);
}

static void set_uart_line(void *opaque, bool high)
{
	set_line(opaque, PLATFORM_UART_GSI, high);
}

/* The guest's last words about why it ended, if there are any. */
static int explain_reset(struct machine *m, struct error *err)
{
	static const char panicked[] = "Kernel panic - not syncing: ";
	cleanup_free char *text = malloc(CONLOG_SIZE + 1);
	const char *why;

	if (!text)
		return error_say(err, ESHUTDOWN, "the guest reset");
	conlog_text(&m->log, text);
	why = strstr(text, panicked);
	if (why) {
		why += strlen(panicked);
		return error_say(err, ESHUTDOWN, "the guest's kernel panicked: %.*s",
				 (int)strcspn(why, "\n"), why);
	}
	if (strstr(text, "reboot: Restarting system"))
		return error_say(err, ESHUTDOWN, "the guest rebooted, which ends it");
	return error_say(err, ESHUTDOWN, "the guest reset (triple fault)");
}

static int on_reset(void *opaque, struct error *err)
{
	return explain_reset(opaque, err);
}

static int sleep_control(uint8_t value, struct error *err)
{
	if (value & SLEEP_ENABLE &&
	    (value >> SLEEP_TYPE_SHIFT & SLEEP_TYPE_MASK) == PLATFORM_SLEEP_S5)
		return error_say(err, ESHUTDOWN, "the guest shut down");
	return 0;
}

/* A port that is not there reads as all ones. */
static int on_port(void *opaque, uint16_t port, bool write, void *data, unsigned len,
		   struct error *err)
{
	struct machine *m = opaque;
	unsigned reg = port - PLATFORM_UART_PORT;
	uint8_t *byte = data;

	if (!write)
		memset(data, 0xff, len);
	if (len == 1 && reg < UART_PORTS) {
		pthread_mutex_lock(&m->lock);
		if (write)
			uart_write(&m->uart, reg, *byte);
		else
			*byte = uart_read(&m->uart, reg);
		pthread_mutex_unlock(&m->lock);
	}
	if (port == PLATFORM_SLEEP_STATUS && !write)
		memset(data, 0, len);
	if (port == PLATFORM_SLEEP_PORT && write)
		return sleep_control(*byte, err);
	return 0;
}

/* Memory that is not there reads as all ones. */
static int on_mmio(void *opaque, uint64_t gpa, bool write, void *data, unsigned len,
		   struct error *err)
{
	struct machine *m = opaque;
	uint64_t window = (gpa - PLATFORM_MMIO_BASE) / PLATFORM_MMIO_SIZE;
	int r = 0;

	if (gpa < PLATFORM_MMIO_BASE || window >= MACHINE_WINDOWS) {
		if (!write)
			memset(data, 0xff, len);
		return 0;
	}
	pthread_mutex_lock(&m->lock);
	if (write)
		r = virtio_mmio_write(m->window[window], gpa % PLATFORM_MMIO_SIZE, data,
				      len, err);
	else
		virtio_mmio_read(m->window[window], gpa % PLATFORM_MMIO_SIZE, data, len);
	pthread_mutex_unlock(&m->lock);
	return r;
}

static void on_dead(void *opaque, const char *reason)
{
	struct machine *m = opaque;

	m->dead(m, reason);
}

static const struct vcpu_ops vcpu_ops = {
    .port = on_port,
    .mmio = on_mmio,
    .reset = on_reset,
    .dead = on_dead,
};

const struct vcpu_ops *machine_vcpu_ops(void)
{
	return &vcpu_ops;
}

void machine_connect(struct machine *m, const struct machine_config *config)
{
	struct virtio_line line[MACHINE_WINDOWS];

	for (unsigned i = 0; i < MACHINE_WINDOWS; i++)
		line[i] = (struct virtio_line){
		    .set = set_line, .opaque = m, .gsi = window_gsi[i]};
	pthread_mutex_init(&m->lock, NULL);
	uart_init(&m->uart, &m->log, set_uart_line, m);
	virtio_blk_init(&m->blk[0], &m->base, &m->mem, line[0]);
	virtio_blk_init(&m->blk[1], &m->upper, &m->mem, line[1]);
	virtio_console_init(&m->console, &m->log, config->agent_fd, config->watch, &m->mem,
			    line[2]);
	virtio_rng_init(&m->rng, &m->mem, line[3]);
	virtio_balloon_init(&m->balloon, &m->mem, line[4]);
	virtio_net_init(&m->net, config->watch_net, &m->mem, line[5]);
	m->window[0] = &m->blk[0].dev;
	m->window[1] = &m->blk[1].dev;
	m->window[2] = &m->console.dev;
	m->window[3] = &m->rng.dev;
	m->window[4] = &m->balloon.dev;
	m->window[5] = &m->net.dev;
}

/*
 * The guest's kernel guards itself from its own programs as much as the host's
 * does: inside an emulated host, which turns that off, it would cost a lot.
 */
static const char *mitigations(void)
{
	size_t len;
	cleanup_free char *host = io_read_file("/proc/cmdline", 1 << 16, &len, NULL);

	return host && strstr(host, "mitigations=off") ? " mitigations=off" : "";
}

static int load(struct machine *m, const struct machine_config *config, uint64_t *entry,
		struct error *err)
{
	char cmdline[512];
	int r = acpi_write(&m->mem, (unsigned)config->vcpus, err);

	if (r < 0)
		return r;
	snprintf(cmdline, sizeof(cmdline),
		 "console=ttyS0 quiet reboot=t panic=-1 pci=off tsc=reliable "
		 "no_timer_check random.trust_cpu=on nowatchdog psi=0%s",
		 mitigations());
	return boot_load(&m->mem, config->kernel, config->initramfs, cmdline, ACPI_BASE,
			 entry, err);
}

int machine_open(struct machine *m, const struct machine_config *config, struct error *err)
{
	int r = disk_open_image(&m->base, config->base, err);

	return r < 0 ? r : kvm_open(&m->kvm, err);
}

int machine_init(struct machine *m, const struct machine_config *config, struct error *err)
{
	uint64_t entry;
	int r;

	if (config->memory_mib < MACHINE_MEMORY_MIN_MIB || config->memory_mib > 1u << 20)
		return error_say(err, EINVAL, "a guest needs at least %d MiB of memory",
				 MACHINE_MEMORY_MIN_MIB);
	if (!config->vcpus || config->vcpus > VCPUS_MAX)
		return error_say(err, EINVAL, "a guest has 1 to %d vCPUs, not %llu",
				 VCPUS_MAX, (unsigned long long)config->vcpus);
	m->dead = config->dead;
	conlog_init(&m->log);
	r = machine_open(m, config, err);
	if (!r)
		r = gmem_init(&m->mem, config->memory_mib << 20, err);
	if (!r)
		r = disk_open_layered(&m->upper, config->upper, config->disk_mib << 20,
				      err);
	if (r < 0)
		return r;
	machine_connect(m, config);
	r = load(m, config, &entry, err);
	if (!r)
		r = kvm_vm_make(&m->kvm, &m->mem, err);
	return r ? r
		 : vcpus_init(&m->vcpus, &m->kvm, (unsigned)config->vcpus, entry, &vcpu_ops,
			      m, err);
}

int machine_agent_ready(struct machine *m, struct error *err)
{
	int r;

	pthread_mutex_lock(&m->lock);
	r = virtio_console_ready(&m->console, err);
	pthread_mutex_unlock(&m->lock);
	return r;
}

void machine_net_connect(struct machine *m, int tap_fd)
{
	pthread_mutex_lock(&m->lock);
	virtio_net_connect(&m->net, tap_fd);
	pthread_mutex_unlock(&m->lock);
}

int machine_net_ready(struct machine *m, struct error *err)
{
	int r;

	pthread_mutex_lock(&m->lock);
	r = virtio_net_ready(&m->net, err);
	pthread_mutex_unlock(&m->lock);
	return r;
}
