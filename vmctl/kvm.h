/*
 * A KVM virtual machine and its vCPUs (Linux, Documentation/virt/kvm/api.rst).
 * Everything here runs before the guest does, except kvm_set_irq().
 */
#pragma once

#include "util/error.h"
#include "vmctl/gmem.h"

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>

struct kvm_vm {
	int dev_fd, vm_fd;
	size_t run_size;	  /* bytes of the mapping of struct kvm_run */
	struct kvm_cpuid2 *cpuid; /* what this host supports; NULL until it is asked */
};

/** kvm_open() - open KVM itself: the one file that a VM needs. Return: 0 or -errno with
 * @err. */
int kvm_open(struct kvm_vm *kvm, struct error *err);

/**
 * kvm_vm_make() - make a VM over @mem, with interrupt controllers.
 * @kvm: opened, and without a VM.
 *
 * Return: 0 or -errno with @err filled.
 */
int kvm_vm_make(struct kvm_vm *kvm, const struct gmem *mem, struct error *err);

/** kvm_vm_init() - both of these. */
int kvm_vm_init(struct kvm_vm *kvm, const struct gmem *mem, struct error *err);

/**
 * kvm_vm_abandon() - close the VM; KVM stays open. Its vCPUs have to be closed before: each
 * open descriptor of a VM or a vCPU keeps all of the VM alive.
 */
void kvm_vm_abandon(struct kvm_vm *kvm);

/**
 * kvm_vcpu_make() - make vCPU @index without any state.
 * @run: set to the mapping of its struct kvm_run, which fork(2) leaves out.
 *
 * Return: its descriptor, or -errno with @err filled.
 */
int kvm_vcpu_make(const struct kvm_vm *kvm, unsigned index, struct kvm_run **run,
		  struct error *err);

/**
 * kvm_vcpu_init() - make vCPU @index of @count.
 * @run: set to the mapping of its struct kvm_run.
 *
 * Return: its descriptor, or -errno with @err filled.
 */
int kvm_vcpu_init(struct kvm_vm *kvm, unsigned index, unsigned count, struct kvm_run **run,
		  struct error *err);

/**
 * kvm_vcpu_enter() - give the first vCPU the registers of the boot protocol.
 * @entry: gpa at which it begins.
 *
 * Return: 0 or -errno with @err filled.
 */
int kvm_vcpu_enter(int vcpu_fd, uint64_t entry, struct error *err);

/** kvm_set_irq() - set the level of one interrupt line. Any thread may. */
void kvm_set_irq(const struct kvm_vm *kvm, unsigned gsi, bool high);
