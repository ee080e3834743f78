/*
 * What a guest's CPUID says: what KVM supports on this host, and a topology of
 * one socket with one thread per core.
 */
#pragma once

#include <linux/kvm.h>

/**
 * cpuid_for_vcpu() - adapt a copy of KVM's supported leaves to one vCPU.
 * @cpuid: from KVM_GET_SUPPORTED_CPUID; changed in place.
 * @index: of the vCPU, also its APIC id; @count: vCPUs of the VM.
 */
void cpuid_for_vcpu(struct kvm_cpuid2 *cpuid, unsigned index, unsigned count);
