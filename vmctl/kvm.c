#include "vmctl/kvm.h"

#include "util/cleanup.h"
#include "vmctl/boot.h"
#include "vmctl/cpuid.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define CPUID_ENTRIES 256

/* Pages in the hole that KVM uses itself on Intel processors. */
#define IDENTITY_MAP_ADDRESS 0xfffbc000ull
#define TSS_ADDRESS	     0xfffbd000ul

#define MSR_MISC_ENABLE		    0x1a0
#define MISC_ENABLE_FAST_STRING	    0x0001
#define MISC_ENABLE_NO_BTS_NO_PEBS  0x1800
#define MSR_MTRR_DEF_TYPE	    0x2ff
#define MTRR_ENABLED_AND_WRITE_BACK 0x806

#define CR0_PE	 (1ull << 0)
#define CR0_PG	 (1ull << 31)
#define CR4_PAE	 (1ull << 5)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)

/*
 * All that a VM of KVM is made by, but for its state.
 *
 * #syscalls:vm ioctl(1==KVM_CREATE_VM) ioctl(1==KVM_SET_IDENTITY_MAP_ADDR)
 * ioctl(1==KVM_SET_TSS_ADDR) ioctl(1==KVM_SET_USER_MEMORY_REGION)
 * ioctl(1==KVM_ENABLE_CAP) ioctl(1==KVM_CREATE_IRQCHIP) ioctl(1==KVM_CREATE_VCPU)
 */
static int add_slot(int vm_fd, unsigned slot, uint64_t gpa, void *at, uint64_t size,
		    struct error *err)
{
	struct kvm_userspace_memory_region region = {
	    .slot = slot,
	    .guest_phys_addr = gpa,
	    .memory_size = size,
	    .userspace_addr = (uintptr_t)at,
	};

	if (!size || ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &region) == 0)
		return 0;
	return error_set(err, errno, "KVM does not take %llu MiB of guest memory",
			 (unsigned long long)(size >> 20));
}

/*
 * Memory first: while there are no interrupt controllers, KVM has no readers of
 * its buses to wait for.
 */
static int furnish(const struct kvm_vm *kvm, const struct gmem *mem, struct error *err)
{
	uint64_t identity = IDENTITY_MAP_ADDRESS;
	struct kvm_enable_cap no_pmu = {
	    .cap = KVM_CAP_PMU_CAPABILITY,
	    .args = {KVM_PMU_CAP_DISABLE},
	};
	int r;

	if (ioctl(kvm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
	    ioctl(kvm->vm_fd, KVM_SET_TSS_ADDR, TSS_ADDRESS) < 0)
		return error_set(err, errno, "KVM does not take its own pages' addresses");
	r = add_slot(kvm->vm_fd, 0, 0, mem->base, mem->low, err);
	if (!r)
		r = add_slot(kvm->vm_fd, 1, GMEM_HOLE_END, mem->base + mem->low,
			     mem->size - mem->low, err);
	if (r < 0)
		return r;
	/* Performance counters are not for guests; an old KVM keeps them. */
	ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &no_pmu);
	if (ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return error_set(err, errno, "KVM makes no interrupt controllers");
	return 0;
}

int kvm_open(struct kvm_vm *kvm, struct error *err)
{
	int r;

	*kvm = (struct kvm_vm){.vm_fd = -1};
	kvm->dev_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm->dev_fd < 0)
		return error_set(err, errno, "cannot open /dev/kvm");
	if (ioctl(kvm->dev_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return error_say(err, ENOTSUP, "/dev/kvm speaks another API version");
	r = ioctl(kvm->dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (r < (int)sizeof(struct kvm_run))
		return error_say(err, ENOTSUP, "/dev/kvm has a strange struct kvm_run");
	kvm->run_size = (size_t)r;
	return 0;
}

int kvm_vm_make(struct kvm_vm *kvm, const struct gmem *mem, struct error *err)
{
	/* It makes a kernel thread, and gives up when a freezer or a signal comes. */
	do
		kvm->vm_fd = ioctl(kvm->dev_fd, KVM_CREATE_VM, 0);
	while (kvm->vm_fd < 0 && errno == EINTR);
	if (kvm->vm_fd < 0)
		return error_set(err, errno, "KVM does not make a VM");
	return furnish(kvm, mem, err);
}

int kvm_vm_init(struct kvm_vm *kvm, const struct gmem *mem, struct error *err)
{
	int r = kvm_open(kvm, err);

	return r < 0 ? r : kvm_vm_make(kvm, mem, err);
}

/*
 * KVM asks the CPU for every leaf, which takes most of a millisecond where this
 * machine is itself a guest. So this is not done for a VM whose state is restored.
 */
static int get_cpuid(struct kvm_vm *kvm, struct error *err)
{
	if (kvm->cpuid)
		return 0;
	kvm->cpuid =
	    calloc(1, sizeof(*kvm->cpuid) + CPUID_ENTRIES * sizeof(kvm->cpuid->entries[0]));
	if (!kvm->cpuid)
		return error_say(err, ENOMEM, "no memory for the CPUID leaves");
	kvm->cpuid->nent = CPUID_ENTRIES;
	if (ioctl(kvm->dev_fd, KVM_GET_SUPPORTED_CPUID, kvm->cpuid) < 0)
		return error_set(err, errno, "KVM does not tell its CPUID leaves");
	return 0;
}

static int set_cpuid(const struct kvm_vm *kvm, int fd, unsigned index, unsigned count)
{
	size_t entry = sizeof(kvm->cpuid->entries[0]);
	size_t size = sizeof(*kvm->cpuid) + kvm->cpuid->nent * entry;
	cleanup_free struct kvm_cpuid2 *cpuid = malloc(size + CPUID_EXTRA * entry);

	if (!cpuid)
		return -ENOMEM;
	memcpy(cpuid, kvm->cpuid, size);
	cpuid_for_vcpu(cpuid, index, count);
	return ioctl(fd, KVM_SET_CPUID2, cpuid) < 0 ? -errno : 0;
}

/* What firmware would have set: the memory is write-back, strings are fast. */
static int set_msrs(int fd)
{
	static const struct kvm_msr_entry entries[] = {
	    {.index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLED_AND_WRITE_BACK},
	    {.index = MSR_MISC_ENABLE,
	     .data = MISC_ENABLE_FAST_STRING | MISC_ENABLE_NO_BTS_NO_PEBS},
	};
	cleanup_free struct kvm_msrs *msrs = calloc(1, sizeof(*msrs) + sizeof(entries));
	int n;

	if (!msrs)
		return -ENOMEM;
	msrs->nmsrs = sizeof(entries) / sizeof(entries[0]);
	memcpy(msrs->entries, entries, sizeof(entries));
	n = ioctl(fd, KVM_SET_MSRS, msrs);
	if (n < 0)
		return -errno;
	return (uint32_t)n == msrs->nmsrs ? 0 : -EINVAL;
}

int kvm_vcpu_make(const struct kvm_vm *kvm, unsigned index, struct kvm_run **run,
		  struct error *err)
{
	cleanup_close int fd = ioctl(kvm->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	void *map;

	if (fd < 0)
		return error_set(err, errno, "KVM does not make vCPU %u", index);
	map = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return error_set(err, errno, "cannot map vCPU %u", index);
	/* A forked process has vCPUs of its own. */
	madvise(map, kvm->run_size, MADV_DONTFORK);
	*run = map;
	return steal_fd(&fd);
}

int kvm_vcpu_init(struct kvm_vm *kvm, unsigned index, unsigned count, struct kvm_run **run,
		  struct error *err)
{
	cleanup_close int fd = kvm_vcpu_make(kvm, index, run, err);
	int r = fd < 0 ? fd : get_cpuid(kvm, err);

	if (r < 0)
		return r;
	r = set_cpuid(kvm, fd, index, count);
	if (r < 0)
		return error_set(err, -r, "KVM does not take the CPUID of vCPU %u", index);
	r = set_msrs(fd);
	if (r < 0)
		return error_set(err, -r, "KVM does not take the MSRs of vCPU %u", index);
	return steal_fd(&fd);
}

void kvm_vm_abandon(struct kvm_vm *kvm)
{
	close(kvm->vm_fd);
	kvm->vm_fd = -1;
	free(kvm->cpuid);
	kvm->cpuid = NULL;
}

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type, bool code)
{
	return (struct kvm_segment){
	    .limit = UINT32_MAX,
	    .selector = selector,
	    .type = type,
	    .present = 1,
	    .s = 1,
	    .g = 1,
	    .l = code,
	    .db = !code,
	};
}

int kvm_vcpu_enter(int vcpu_fd, uint64_t entry, struct error *err)
{
	struct kvm_regs regs = {.rip = entry, .rsi = BOOT_ZERO_PAGE, .rflags = 2};
	struct kvm_sregs sregs;

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return error_set(err, errno, "KVM does not tell the first vCPU's state");
	sregs.cs = flat_segment(BOOT_CS, 11, true);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss =
	    flat_segment(BOOT_DS, 3, false);
	sregs.gdt = (struct kvm_dtable){.base = BOOT_GDT, .limit = BOOT_GDT_LIMIT};
	sregs.idt = (struct kvm_dtable){0};
	sregs.cr0 |= CR0_PE | CR0_PG;
	sregs.cr3 = BOOT_PML4;
	sregs.cr4 |= CR4_PAE;
	sregs.efer |= EFER_LME | EFER_LMA;
	if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) < 0 ||
	    ioctl(vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return error_set(err, errno, "KVM does not take the first vCPU's state");
	return 0;
}

/* #syscalls:vm,vcpu ioctl(1==KVM_IRQ_LINE) */
void kvm_set_irq(const struct kvm_vm *kvm, unsigned gsi, bool high)
{
	struct kvm_irq_level level = {.irq = gsi, .level = high};

	/* It fails for a line that does not exist only. */
	ioctl(kvm->vm_fd, KVM_IRQ_LINE, &level);
}
