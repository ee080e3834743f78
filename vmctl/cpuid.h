/*
 * What a guest's CPUID says: what KVM supports on this host, and a topology of
 * one socket with one thread per core.
 */
#pragma once

#include <linux/kvm.h>

#define CPUID_EXTRA 3 /* entries that cpuid_for_vcpu() adds at most */

/**
 * cpuid_for_vcpu() - adapt a copy of KVM's supported leaves to one vCPU.
 * @cpuid: from KVM_GET_SUPPORTED_CPUID, with room for CPUID_EXTRA more entries;
 *         changed in place.
 * @index: of the vCPU, also its APIC id; @count: vCPUs of the VM.
 */
void cpuid_for_vcpu(struct kvm_cpuid2 *cpuid, unsigned index, unsigned count);
