"""What cannot be said in Python: leave a process's memory for another one's.

A process that replaces all of its own memory has, meanwhile, neither interpreter nor stack. So the
replacing is a table of system calls, and the little code below runs it: it reads nothing but the
table, writes nothing, and goes on where ``capture`` was once called, in the memory that now lies
around it. Code, table and registers stand together in one region, which the table leaves alone.

    offset 0      the code
    4096          the registers that ``capture`` saved (64 bytes); then room for a few bytes
    8192          the table's beginning is written here, by the process that is replaced
    9216          the table: seven words each, the number of a call and its arguments; -1 ends it
                  and what its calls point to
"""

import ctypes
import os
import struct

PAGE = 4096
REGISTERS = 4096
SCRATCH = 4096 + 256
PREFIX = 8192
TABLE = 9216
ENTRY = struct.Struct("<7Q")
END = struct.pack("<q", -1)

MACHINES = ("x86_64",)
"""Where the code below runs."""

CAPTURE, RUN = 0x00, 0x22
_CODE = bytes.fromhex(
    # capture(table=rdi, registers=rsi): save what a function must keep, then run the table.
    "48891e"  # 00  mov    [rsi], rbx
    "48896e08"  # 03  mov    [rsi+0x08], rbp
    "4c896610"  # 07  mov    [rsi+0x10], r12
    "4c896e18"  # 0b  mov    [rsi+0x18], r13
    "4c897620"  # 0f  mov    [rsi+0x20], r14
    "4c897e28"  # 13  mov    [rsi+0x28], r15
    "48896630"  # 17  mov    [rsi+0x30], rsp
    "0fae5e38"  # 1b  stmxcsr [rsi+0x38]
    "d97e3c"  # 1f  fnstcw [rsi+0x3c]
    # run(table=rdi, registers=rsi)
    "4889fb"  # 22  mov    rbx, rdi
    "4889f5"  # 25  mov    rbp, rsi
    # next: one call of the table
    "488b03"  # 28  mov    rax, [rbx]
    "4885c0"  # 2b  test   rax, rax
    "7832"  # 2e  js     resume
    "488b7b08"  # 30  mov    rdi, [rbx+0x08]
    "488b7310"  # 34  mov    rsi, [rbx+0x10]
    "488b5318"  # 38  mov    rdx, [rbx+0x18]
    "4c8b5320"  # 3c  mov    r10, [rbx+0x20]
    "4c8b4328"  # 40  mov    r8, [rbx+0x28]
    "4c8b4b30"  # 44  mov    r9, [rbx+0x30]
    "0f05"  # 48  syscall
    "483d01f0ffff"  # 4a  cmp    rax, -4095
    "7306"  # 50  jae    failed
    "4883c338"  # 52  add    rbx, 56
    "ebd0"  # 56  jmp    next
    # failed: end the process; its status is the number of the call
    "488b3b"  # 58  mov    rdi, [rbx]
    "b8e7000000"  # 5b  mov    eax, exit_group
    "0f05"  # 60  syscall
    # resume: return 1 from the call of capture
    "488b5d00"  # 62  mov    rbx, [rbp]
    "4c8b6510"  # 66  mov    r12, [rbp+0x10]
    "4c8b6d18"  # 6a  mov    r13, [rbp+0x18]
    "4c8b7520"  # 6e  mov    r14, [rbp+0x20]
    "4c8b7d28"  # 72  mov    r15, [rbp+0x28]
    "488b6530"  # 76  mov    rsp, [rbp+0x30]
    "0fae5538"  # 7a  ldmxcsr [rbp+0x38]
    "d96d3c"  # 7e  fldcw  [rbp+0x3c]
    "488b6d08"  # 81  mov    rbp, [rbp+0x08]
    "b801000000"  # 85  mov    eax, 1
    "c3"  # 8a  ret
)

# Numbers of calls, on the machine above.
READ, WRITE, CLOSE = 0, 1, 3
MMAP, MPROTECT, MUNMAP, MREMAP = 9, 10, 11, 25
SIGACTION, SIGPROCMASK, SIGALTSTACK = 13, 14, 131
GETTID = 186
ARCH_PRCTL, SET_TID_ADDRESS, GET_ROBUST_LIST, SET_ROBUST_LIST = 158, 218, 274, 273
EXIT_GROUP, OPENAT, MEMFD_CREATE = 231, 257, 319
GET_FS, SET_FS = 0x1003, 0x1002

PROT_NONE, PROT_READ, PROT_WRITE, PROT_EXEC = 0, 1, 2, 4
MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS = 0x01, 0x02, 0x10, 0x20
MAP_NORESERVE, MAP_FIXED_NOREPLACE = 0x4000, 0x100000
MREMAP_MAYMOVE, MREMAP_FIXED = 1, 2
WORD = (1 << 64) - 1

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def call(number, *arguments):
    """One system call. OSError."""
    result = _syscall(ctypes.c_long(number), *(ctypes.c_ulong(each & WORD) for each in arguments))
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "system call {}".format(number))
    return result


def map_memory(address, length, flags):
    """Memory that may be read and written, at an address or, for 0, anywhere. OSError."""
    got = _mmap(address, length, PROT_READ | PROT_WRITE, flags, -1, 0)
    if got in (None, WORD):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "mmap")
    if address and got != address:
        # A kernel before 4.17 takes the address for a wish.
        call(MUNMAP, got, length)
        raise OSError(17, "the address is taken", "mmap")
    return got


def memory(address, length):
    """Bytes at an address, to be read and written in place."""
    return memoryview((ctypes.c_char * length).from_address(address)).cast("B")


def entry(number, *arguments):
    """A row of the table."""
    words = [each & WORD for each in arguments]
    return ENTRY.pack(number, *words, *([0] * (6 - len(words))))


def install(region):
    """Put the code where it will run."""
    memory(region, len(_CODE))[:] = _CODE
    call(MPROTECT, region, PAGE, PROT_READ | PROT_EXEC)


def capture(region, table):
    """Run a table here; where the registers saved by this are resumed, this returns 1."""
    # The interpreter's lock is kept: it belongs to what is captured.
    function = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    return function(region + CAPTURE)(table, region + REGISTERS)


def run(region, table):
    """Run a table, and go on in what it has made of this process. Does not return."""
    function = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    function(region + RUN)(table, region + REGISTERS)
