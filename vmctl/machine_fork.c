#include "vmctl/machine.h"

#include <errno.h>

int machine_get_state(struct machine *m, struct kvm_state *state, struct error *err)
{
	if (m->vcpus.running < m->vcpus.count)
		return error_say(err, EIO, "the guest has ended");
	return state ? vcpus_get_state(&m->vcpus, &m->kvm, state, err) : 0;
}

int machine_seal(struct machine *m, struct kvm_state *state, struct error *err)
{
	int r = machine_get_state(m, state, err);

	return r ? r : disk_seal(&m->upper, err);
}

/* No vCPU runs yet, but a device may look at its lock. */
int machine_wake_devices(struct machine *m, struct error *err)
{
	int r = 0;

	pthread_mutex_lock(&m->lock);
	uart_wake(&m->uart);
	for (unsigned i = 0; i < MACHINE_WINDOWS && !r; i++)
		r = virtio_wake(m->window[i], err);
	pthread_mutex_unlock(&m->lock);
	return r;
}

int machine_part(struct machine *m, int agent_fd, struct error *err)
{
	vcpus_abandon(&m->vcpus);
	kvm_vm_abandon(&m->kvm);
	virtio_console_part(&m->console, agent_fd);
	virtio_net_part(&m->net);
	return disk_part(&m->upper, err);
}

int machine_enter(struct machine *m, const struct kvm_state *state, struct error *err)
{
	int r = kvm_vm_make(&m->kvm, &m->mem, err);

	if (!r)
		r = vcpus_restore(&m->vcpus, &m->kvm, state, err);
	return r ? r : machine_wake_devices(m, err);
}
