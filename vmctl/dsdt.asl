/*
 * The devices of a guest, for its ACPI interpreter (ACPI 6.4, chapter 5).
 * LNRO0005 is the virtio-mmio device of Linux.
 */
#include "platform.h"

DefinitionBlock ("dsdt.aml", "DSDT", 2, "PFFS", "VMCTL", 1)
{
	Name (\_S5, Package () { PLATFORM_SLEEP_S5, 0, 0, 0 })

	Scope (\_SB)
	{
		Device (VIO0)
		{
			Name (_HID, "LNRO0005")
			Name (_UID, 0)
			Name (_CCA, 1)
			Name (_CRS, ResourceTemplate () {
				Memory32Fixed (ReadWrite, PLATFORM_MMIO_0, PLATFORM_MMIO_SIZE)
				Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) {
					PLATFORM_GSI_0
				}
			})
		}

		Device (VIO1)
		{
			Name (_HID, "LNRO0005")
			Name (_UID, 1)
			Name (_CCA, 1)
			Name (_CRS, ResourceTemplate () {
				Memory32Fixed (ReadWrite, PLATFORM_MMIO_1, PLATFORM_MMIO_SIZE)
				Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) {
					PLATFORM_GSI_1
				}
			})
		}

		Device (VIO2)
		{
			Name (_HID, "LNRO0005")
			Name (_UID, 2)
			Name (_CCA, 1)
			Name (_CRS, ResourceTemplate () {
				Memory32Fixed (ReadWrite, PLATFORM_MMIO_2, PLATFORM_MMIO_SIZE)
				Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) {
					PLATFORM_GSI_2
				}
			})
		}

		Device (VIO3)
		{
			Name (_HID, "LNRO0005")
			Name (_UID, 3)
			Name (_CCA, 1)
			Name (_CRS, ResourceTemplate () {
				Memory32Fixed (ReadWrite, PLATFORM_MMIO_3, PLATFORM_MMIO_SIZE)
				Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) {
					PLATFORM_GSI_3
				}
			})
		}

		Device (VIO4)
		{
			Name (_HID, "LNRO0005")
			Name (_UID, 4)
			Name (_CCA, 1)
			Name (_CRS, ResourceTemplate () {
				Memory32Fixed (ReadWrite, PLATFORM_MMIO_4, PLATFORM_MMIO_SIZE)
				Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) {
					PLATFORM_GSI_4
				}
			})
		}

		Device (VIO5)
		{
			Name (_HID, "LNRO0005")
			Name (_UID, 5)
			Name (_CCA, 1)
			Name (_CRS, ResourceTemplate () {
				Memory32Fixed (ReadWrite, PLATFORM_MMIO_5, PLATFORM_MMIO_SIZE)
				Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) {
					PLATFORM_GSI_5
				}
			})
		}

		Device (COM1)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, 0)
			Name (_CRS, ResourceTemplate () {
				IO (Decode16, PLATFORM_UART_PORT, PLATFORM_UART_PORT, 1, 8)
				Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) {
					PLATFORM_UART_GSI
				}
			})
		}
	}
}
