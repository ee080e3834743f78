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


NET = 0xd0005000  # registers of the network device (vmctl/platform.h)
RINGS = LOAD + 0x1000  # a page for those of receiving; at +0x800 those of sending
ROOM = LOAD + 0x2000  # what a frame is received into
HELLO = LOAD + 0x3000  # the first frame that it sends
TABLE = LOAD + 0x4000  # maps the fourth GiB, where NET is
FRAME = 60
HEADER = 12  # of virtio, before each frame


def net_registers():
    """What a driver writes to the device, in order (virtio 1.2, 4.2.3)."""
    yield from ((0x70, 0), (0x70, 3), (0x24, 1), (0x20, 1), (0x70, 11))
    for queue in (0, 1):
        at = RINGS + queue * 0x800
        yield from ((0x30, queue), (0x38, 2), (0x80, at), (0x90, at + 0x100),
                    (0xa0, at + 0x200), (0x44, 1))
    yield 0x70, 15


def put(register, value):
    """mov dword [rdi + register], value"""
    return b"\xc7\x87" + struct.pack("<II", register, value)


def map_devices():
    """To where TABLE says, behind the page tables that it was started with."""
    return (b"\x0f\x20\xd8\x48\x8b\x00"                  # mov rax, cr3; mov rax, [rax]
            + b"\x48\x25" + struct.pack("<i", -4096)      # and rax, -4096
            + b"\x48\xc7\x40\x18" + struct.pack("<I", TABLE | 3))  # mov qword [rax + 24], TABLE


def net_code():
    """A guest with a network card: it says HELLO, and sends back whatever it receives."""
    def short(instruction, offset):                        # with [rsi + offset]
        return instruction + struct.pack("<I", offset)

    wait = b"\xf3\x90" + short(b"\x66\x3b\x9e", 0x202)    # 1: pause; cmp bx, used of receiving
    answer = (b"\xff\xc3"                                  # inc ebx
              + short(b"\x66\xc7\x86", 0x904) + b"\x01\x00"  # HELLO is sent once
              + short(b"\x66\xff\x86", 0x902) + put(0x50, 1)   # send; notify
              + short(b"\x66\xff\x86", 0x102) + put(0x50, 0))  # give room; notify
    back = len(wait) + 2 + len(answer) + 2
    return (map_devices() + b"\xbf" + struct.pack("<I", NET) + b"\xbe" + struct.pack("<I", RINGS)
            + b"".join(put(*each) for each in net_registers()) + b"\x31\xdb"
            + wait + b"\x74" + struct.pack("b", -len(wait) - 2)  # je 1b
            + answer + b"\xeb" + struct.pack("b", -back))  # jmp 1b


def descriptor(at, length, flags=0, following=0):
    return struct.pack("<QIHH", at, length, flags, following)


def with_data(program, *pieces):
    """A kernel of @program, with pieces of memory: (offset from LOAD, bytes)."""
    image = bytearray(bzimage_of(program))
    data = len(image) - len(program) - 0x200  # of the file, where LOAD is
    image += bytes(data + 0x5000 - len(image))
    maps = struct.pack("<Q", NET >> 21 << 21 | 0x93)       # 2 MiB, not cached
    for at, value in (*pieces, (0x4000 + 128 * 8, maps)):
        image[data + at:data + at + len(value)] = value
    return bytes(image)


def net_kernel():
    """The kernel of that guest, with rings that have one buffer each way."""
    return with_data(
        net_code(),
        (0x1000, descriptor(ROOM, 2048, 2)),               # 2: for the device to write
        (0x1100, struct.pack("<HHHH", 1, 1, 0, 0)),        # no interrupts; there is one
        (0x1800, descriptor(HELLO, HEADER + FRAME) + descriptor(ROOM, HEADER + FRAME)),
        (0x1900, struct.pack("<HHHH", 1, 1, 0, 1)),
        (0x3000 + HEADER, b"hello".ljust(FRAME)))


def device_registers(device, rings, features, size):
    """What a driver of one queue writes to the device of this number, and a notify."""
    at = device * 0x1000
    for register, value in (
            (0x70, 0), (0x70, 3), (0x24, 0), (0x20, features), (0x24, 1), (0x20, 1), (0x70, 11),
            (0x30, 0), (0x38, size), (0x80, rings), (0x90, rings + 0x100), (0xa0, rings + 0x200),
            (0x44, 1), (0x70, 15), (0x50, 0)):
        yield at + register, value


def disk_requests():
    """Of a queue of 16: a page is written, read, and discarded with its cluster."""
    chain = b""
    for head, (kind, at, length, flags) in enumerate((
            (1, ROOM, 4096, 0), (0, ROOM, 4096, 2), (11, HELLO + 0x100, 16, 0))):
        chain += (descriptor(HELLO + head * 16, 16, 1, 3 * head + 1)
                  + descriptor(at, length, 1 | flags, 3 * head + 2)
                  + descriptor(HELLO + 0x200, 1, 2))
        yield 0x3000 + head * 16, struct.pack("<IIQ", kind, 0, 0)
    yield 0x1000, chain
    yield 0x1100, struct.pack("<HHHHH", 0, 3, 0, 3, 6)
    yield 0x3100, struct.pack("<QII", 0, 128, 0)


def device_kernel():
    """A guest that uses its second disk and its source of entropy, and says GREETING."""
    registers = [*device_registers(1, RINGS, 1 << 13, 16),
                 *device_registers(3, RINGS + 0x800, 0, 2)]
    program = (map_devices() + b"\xbf" + struct.pack("<I", NET - 0x5000)
               + b"".join(put(*each) for each in registers)
               + b"\xb0" + GREETING.encode() + b"\x66\xba\xf8\x03\xee\xf4\xeb\xfd")
    return with_data(program, *disk_requests(),
                     (0x1800, descriptor(ROOM, 64, 2)),
                     (0x1900, struct.pack("<HHH", 1, 1, 0)))


def bzimage(memory_mib):
    return bzimage_of(code(memory_mib))


def bzimage_of(program):
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
    return bytes(setup) + bytes(0x200) + program


def make_images(folder, memory_mib):
    """Turn the empty images in @folder into ones that a VM process takes."""
    write_images(folder, bzimage(memory_mib))


def write_images(folder, kernel):
    for name, data in (("kernel", kernel), ("initramfs", bytes(512)),
                       ("upper.ext4", bytes(65536)), ("templates/default.erofs", bytes(4096))):
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)
