/*
 * The machine that a guest sees: addresses, ports and interrupts. dsdt.asl
 * includes this file too, so it holds plain #defines and nothing else.
 *
 * Interrupts are global system interrupts of the IOAPIC at 16 and above: KVM
 * routes the lower ones to its 8259 model as well, which nobody initialises.
 */
#ifndef VMCTL_PLATFORM_H
#define VMCTL_PLATFORM_H

#define PLATFORM_MMIO_BASE 0xd0000000 /* virtio-mmio windows, one after the other */
#define PLATFORM_MMIO_SIZE 0x1000

#define PLATFORM_MMIO_0 0xd0000000 /* virtio-blk: the root file system image */
#define PLATFORM_MMIO_1 0xd0001000 /* virtio-blk: the overlay's upper layer */
#define PLATFORM_MMIO_2 0xd0002000 /* virtio-console */
#define PLATFORM_MMIO_3 0xd0003000 /* virtio-rng */
#define PLATFORM_MMIO_4 0xd0004000 /* virtio-balloon */
#define PLATFORM_MMIO_5 0xd0005000 /* virtio-net */

#define PLATFORM_GSI_0 16
#define PLATFORM_GSI_1 17
#define PLATFORM_GSI_2 18
#define PLATFORM_GSI_3 19
#define PLATFORM_GSI_4 20
#define PLATFORM_GSI_5 21

#define PLATFORM_UART_PORT 0x3f8
#define PLATFORM_UART_GSI  23

#define PLATFORM_SLEEP_PORT   0x600 /* ACPI 6.4, 4.8.3.7: sleep control register */
#define PLATFORM_SLEEP_STATUS 0x601
#define PLATFORM_SLEEP_S5     5 /* SLP_TYP of soft off, from \_S5 */

#endif
