#include "vmctl/vcpu.h"

#include "vmctl/jail_calls.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define KICK SIGUSR1

#ifndef sigev_notify_thread_id /* the C library has no name for it (timer_create(2)) */
#define sigev_notify_thread_id _sigev_un._tid
#endif

static void on_kick(int sig)
{
	(void)sig; /* it only makes KVM_RUN return */
}

int vcpus_prepare(struct vcpus *all, unsigned count, const struct vcpu_ops *ops,
		  void *opaque, struct error *err)
{
	if (!count || count > VCPUS_MAX)
		return error_say(err, EINVAL, "a guest has 1 to %d vCPUs, not %u",
				 VCPUS_MAX, count);
	*all = (struct vcpus){.ops = ops, .opaque = opaque, .count = count};
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->changed, NULL);
	for (unsigned i = 0; i < count; i++)
		all->vcpu[i] = (struct vcpu){.all = all, .index = i, .fd = -1};
	return 0;
}

int vcpus_init(struct vcpus *all, struct kvm_vm *kvm, unsigned count, uint64_t entry,
	       const struct vcpu_ops *ops, void *opaque, struct error *err)
{
	int r = vcpus_prepare(all, count, ops, opaque, err);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < count; i++) {
		struct vcpu *vcpu = &all->vcpu[i];

		vcpu->fd = kvm_vcpu_init(kvm, i, count, &vcpu->run, err);
		if (vcpu->fd < 0)
			return vcpu->fd;
	}
	return kvm_vcpu_enter(all->vcpu[0].fd, entry, err);
}

int vcpus_get_state(const struct vcpus *all, const struct kvm_vm *kvm,
		    struct kvm_state *state, struct error *err)
{
	int fds[VCPUS_MAX];

	for (unsigned i = 0; i < all->count; i++)
		fds[i] = all->vcpu[i].fd;
	return kvm_state_get(state, kvm->dev_fd, kvm->vm_fd, fds, all->count, err);
}

/* The threads that waited for these are in the other process only. */
void vcpus_abandon(struct vcpus *all)
{
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->changed, NULL);
	all->park = all->stop = false;
	all->parked = all->running = 0;
	for (unsigned i = 0; i < all->count; i++) {
		close(all->vcpu[i].fd);
		all->vcpu[i].fd = -1;
		all->vcpu[i].run = NULL;
		all->vcpu[i].can_be_kicked = false;
	}
}

int vcpus_restore(struct vcpus *all, const struct kvm_vm *kvm,
		  const struct kvm_state *state, struct error *err)
{
	int fds[VCPUS_MAX];

	for (unsigned i = 0; i < all->count; i++) {
		struct vcpu *vcpu = &all->vcpu[i];

		vcpu->fd = kvm_vcpu_make(kvm, i, &vcpu->run, err);
		if (vcpu->fd < 0)
			return vcpu->fd;
		fds[i] = vcpu->fd;
	}
	return kvm_state_set(state, kvm->vm_fd, fds, err);
}

static int handle_port(struct vcpu *vcpu, struct error *err)
{
	struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	int r = 0;

	for (uint32_t i = 0; i < run->io.count && !r; i++, data += run->io.size)
		r = vcpu->all->ops->port(vcpu->all->opaque, run->io.port,
					 run->io.direction == KVM_EXIT_IO_OUT, data,
					 run->io.size, err);
	return r;
}

static int handle_exit(struct vcpu *vcpu, struct error *err)
{
	const struct vcpus *all = vcpu->all;
	struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		return handle_port(vcpu, err);
	case KVM_EXIT_MMIO:
		return all->ops->mmio(all->opaque, run->mmio.phys_addr, run->mmio.is_write,
				      run->mmio.data, run->mmio.len, err);
	case KVM_EXIT_SHUTDOWN:
		return all->ops->reset(all->opaque, err);
	case KVM_EXIT_INTERNAL_ERROR:
		return error_say(err, EIO, "KVM could not run vCPU %u (internal error %u)",
				 vcpu->index, run->internal.suberror);
	case KVM_EXIT_FAIL_ENTRY:
		return error_say(
		    err, EIO, "the processor refused to run vCPU %u (reason 0x%llx)",
		    vcpu->index,
		    (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
	default:
		return error_say(err, EIO, "vCPU %u left KVM for the unknown reason %u",
				 vcpu->index, run->exit_reason);
	}
}

/* After a kick: wait while parked. Return: false when the thread is to end. */
static bool pause_here(struct vcpu *vcpu)
{
	struct vcpus *all = vcpu->all;
	bool stop;

	pthread_mutex_lock(&all->lock);
	all->parked++;
	pthread_cond_broadcast(&all->changed);
	while (all->park && !all->stop)
		pthread_cond_wait(&all->changed, &all->lock);
	all->parked--;
	stop = all->stop;
	if (!stop)
		vcpu->run->immediate_exit = 0;
	pthread_mutex_unlock(&all->lock);
	return !stop;
}

/* #syscalls:vm,vcpu ioctl(1==KVM_RUN) */
static void run(struct vcpu *vcpu)
{
	const struct vcpus *all = vcpu->all;
	struct error err;
	int r = 0;

	while (r >= 0) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) == 0)
			r = handle_exit(vcpu, &err);
		else if (errno == EINTR && !pause_here(vcpu))
			return;
		else if (errno != EINTR && errno != EAGAIN)
			r = error_set(&err, errno, "KVM could not run vCPU %u",
				      vcpu->index);
	}
	all->ops->dead(all->opaque, err.text);
}

/* #syscalls:vm timer_create gettid prctl(0==PR_SET_NAME) */
static int make_kick(struct vcpu *vcpu, struct error *err)
{
	struct sigevent event = {
	    .sigev_notify = SIGEV_THREAD_ID,
	    .sigev_signo = KICK,
	    .sigev_notify_thread_id = gettid(),
	};

	if (timer_create(CLOCK_MONOTONIC, &event, &vcpu->kick) < 0)
		return error_set(err, errno, "cannot make a timer for vCPU %u",
				 vcpu->index);
	pthread_mutex_lock(&vcpu->all->lock);
	vcpu->can_be_kicked = true;
	pthread_mutex_unlock(&vcpu->all->lock);
	return 0;
}

static void *thread(void *arg)
{
	struct vcpu *vcpu = arg;
	struct vcpus *all = vcpu->all;
	struct error err;
	char name[16];

	snprintf(name, sizeof(name), "vcpu %u", vcpu->index);
	pthread_setname_np(pthread_self(), name);
	if (make_kick(vcpu, &err) < 0 || jail_calls_enter_vcpu(&err) < 0)
		all->ops->dead(all->opaque, err.text);
	else
		run(vcpu);
	pthread_mutex_lock(&all->lock);
	all->running--;
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
	return NULL;
}

/* The lock is held, so that nobody parks a part of the threads. */
int vcpus_start(struct vcpus *all, struct error *err)
{
	struct sigaction act = {.sa_handler = on_kick};
	int r = 0;

	sigaction(KICK, &act, NULL);
	pthread_mutex_lock(&all->lock);
	while (all->running < all->count && !r) {
		struct vcpu *vcpu = &all->vcpu[all->running];

		r = pthread_create(&vcpu->thread, NULL, thread, vcpu);
		if (!r)
			all->running++;
	}
	pthread_mutex_unlock(&all->lock);
	return r ? error_set(err, r, "cannot start the vCPU threads") : 0;
}

/*
 * With the lock held: make every thread look at park and stop.
 * #syscalls:vm timer_settime
 */
static void kick_all(struct vcpus *all)
{
	const struct itimerspec now = {.it_value.tv_nsec = 1};

	for (unsigned i = 0; i < all->count; i++) {
		all->vcpu[i].run->immediate_exit = 1;
		if (all->vcpu[i].can_be_kicked)
			timer_settime(all->vcpu[i].kick, 0, &now, NULL);
	}
}

void vcpus_park(struct vcpus *all)
{
	pthread_mutex_lock(&all->lock);
	all->park = true;
	kick_all(all);
	while (all->parked < all->running)
		pthread_cond_wait(&all->changed, &all->lock);
	pthread_mutex_unlock(&all->lock);
}

void vcpus_resume(struct vcpus *all)
{
	pthread_mutex_lock(&all->lock);
	all->park = false;
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
}

void vcpus_stop(struct vcpus *all)
{
	pthread_mutex_lock(&all->lock);
	all->stop = true;
	kick_all(all);
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
	for (unsigned i = 0; i < all->count; i++)
		pthread_join(all->vcpu[i].thread, NULL);
}
