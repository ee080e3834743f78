"""A kernel of a page, for tests that need real VM processes and no real guest.

It touches its memory, says GREETING on the serial port, and halts. A software KVM
runs that in no time, unlike a Linux.
"""
import os
import struct

MIB = 1 << 20
GREETING = "."
LOAD = 16 * MIB  # where the kernel wants to be
TOUCH = 32 * MIB  # from here on it touches one byte of every huge page
HUGE = 2 * MIB


def code(memory_mib):
    end = memory_mib * MIB - HUGE
    loop = (b"\xfe\x07"                                    # 1: inc byte [rdi]
            + b"\x48\x81\xc7" + struct.pack("<I", HUGE)    # add rdi, HUGE
            + b"\x48\x81\xff" + struct.pack("<I", end))    # cmp rdi, end
    return (b"\x48\xc7\xc7" + struct.pack("<I", TOUCH)     # mov rdi, TOUCH
            + loop + b"\x72" + struct.pack("b", -len(loop) - 2)  # jb 1b
            + b"\xb0" + GREETING.encode()                  # mov al, GREETING
            + b"\x66\xba\xf8\x03\xee"                      # mov dx, 0x3f8; out dx, al
            + b"\xf4\xeb\xfd")                             # 2: hlt; jmp 2b


def bzimage(memory_mib):
    """As much of a bzImage as the 64-bit boot protocol needs."""
    setup = bytearray(1024)
    for at, value in ((0x1f1, b"\x01"),                    # setup_sects
                      (0x1fe, b"\x55\xaa\xeb\x6a" b"HdrS" + struct.pack("<H", 0x20f)),
                      (0x211, b"\x01"),                    # loadflags: LOADED_HIGH
                      (0x22c, struct.pack("<I", 0x7fffffff)),  # initrd_addr_max
                      (0x236, b"\x01\x00"),                # xloadflags: XLF_KERNEL_64
                      (0x238, struct.pack("<I", 2047)),    # cmdline_size
                      (0x258, struct.pack("<QI", LOAD, MIB))):  # pref_address, init_size
        setup[at:at + len(value)] = value
    return bytes(setup) + bytes(0x200) + code(memory_mib)


def make_images(folder, memory_mib):
    """Turn the empty images in @folder into ones that a VM process takes."""
    for name, data in (("kernel", bzimage(memory_mib)), ("initramfs", bytes(512)),
                       ("upper.ext4", bytes(65536)), ("templates/default.erofs", bytes(4096))):
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)
