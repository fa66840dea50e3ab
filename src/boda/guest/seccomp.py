"""The system calls a function may make: an allow-list, and its filter as a BPF program.

Whatever no group names is refused: with EPERM where the kernel has had the call for long, with
ENOSYS where it is newer than the tables here, so that a C library falls back to what it knows.
``clone`` is allowed unless it asks for a namespace; ``clone3`` is answered ENOSYS, because its
flags stand in memory where a filter cannot look.

Refused on purpose, each a way into the kernel or to a neighbour: mount and its relatives,
unshare, setns, pivot_root, chroot, ptrace, process_vm_readv and _writev, kcmp, pidfd_getfd, bpf,
perf_event_open, userfaultfd, io_uring_*, keyctl, add_key, request_key, open_by_handle_at,
init_module, kexec_load, reboot, swapon, quotactl, acct, settimeofday, clock_settime, syslog,
ioperm, iopl, mknod but of named pipes, fanotify_init, lookup_dcookie, nfsservctl, vhangup, uselib.

Sockets are of the families below, and there of the protocols below: for whatever else it is asked,
the kernel looks for a module, as the machine's root and outside of every limit, each time.
``fcntl`` may not make pipes longer: what lies in one is read in one go when an answer comes.

Files that all sandboxes share are the same files to the kernel, and would tell each what the others
and the machine do with them: ``inotify_add_watch`` is refused with EACCES, as for a file that may
not be read, wherever the file lies, since a filter sees no paths (making an instance is allowed, so
that programs that watch if they can go on); ``fcntl`` gives no directory notices and no leases; and
there is no ``cachestat``.
"""

import errno
import os
import struct

from .syscalls import NEWEST, NUMBERS

GROUPS = (
    (
        "files",
        "reading and writing what the mounts show; fcntl is looked at more closely",
        "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat "
        "openat2 creat close close_range lseek stat fstat lstat newfstatat statx statfs fstatfs "
        "access faccessat faccessat2 readlink readlinkat getdents getdents64 getcwd chdir fchdir "
        "rename renameat renameat2 mkdir mkdirat rmdir link linkat unlink unlinkat symlink "
        "symlinkat chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat truncate ftruncate "
        "fallocate utime utimes utimensat futimesat umask fsync fdatasync sync_file_range sync "
        "syncfs fadvise64 readahead copy_file_range sendfile splice tee vmsplice flock dup "
        "dup2 dup3 pipe pipe2 memfd_create getxattr lgetxattr fgetxattr listxattr llistxattr "
        "flistxattr setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr "
        "inotify_init inotify_init1 inotify_rm_watch",
    ),
    (
        "memory",
        "the process's own address space",
        "brk mmap munmap mremap mprotect madvise mincore msync mlock mlock2 munlock mlockall "
        "munlockall membarrier pkey_alloc pkey_free pkey_mprotect get_mempolicy set_mempolicy "
        "mbind shmget shmat shmctl shmdt map_shadow_stack mseal process_mrelease",
    ),
    (
        "processes",
        "children, threads and their ends; clone is looked at more closely",
        "fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill getpid getppid "
        "gettid set_tid_address set_robust_list get_robust_list futex futex_waitv futex_wake "
        "futex_wait futex_requeue rseq arch_prctl prctl setsid getsid setpgid getpgid getpgrp "
        "sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_setparam "
        "sched_getscheduler sched_setscheduler sched_getattr sched_setattr "
        "sched_get_priority_max sched_get_priority_min sched_rr_get_interval getpriority "
        "setpriority ioprio_get ioprio_set getrusage times getrlimit setrlimit prlimit64 "
        "pidfd_open pidfd_send_signal capget capset getcpu restart_syscall seccomp "
        "landlock_create_ruleset landlock_add_rule landlock_restrict_self",
    ),
    (
        "identity",
        "asking who one is; changing it fails for want of capabilities",
        "getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid "
        "setregid setresuid setresgid setgroups setfsuid setfsgid",
    ),
    (
        "signals",
        "handlers, masks and waiting",
        "rt_sigaction rt_sigprocmask rt_sigpending rt_sigtimedwait rt_sigqueueinfo "
        "rt_tgsigqueueinfo rt_sigreturn rt_sigsuspend sigaltstack pause alarm signalfd signalfd4",
    ),
    (
        "time",
        "reading clocks and sleeping; setting one is refused",
        "time gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep getitimer "
        "setitimer timer_create timer_settime timer_gettime timer_getoverrun timer_delete "
        "timerfd_create timerfd_settime timerfd_gettime",
    ),
    (
        "waiting",
        "event loops",
        "select pselect6 poll ppoll epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait "
        "epoll_pwait2 epoll_ctl_old epoll_wait_old eventfd eventfd2",
    ),
    (
        "network",
        "sockets within the environment's own network; socket and socketpair look at the family",
        "bind listen accept accept4 connect getsockname getpeername sendto "
        "recvfrom sendmsg recvmsg sendmmsg recvmmsg setsockopt getsockopt shutdown",
    ),
    (
        "ipc",
        "System V and POSIX queues within the environment's own ipc namespace",
        "semget semop semtimedop semctl msgget msgsnd msgrcv msgctl mq_open mq_unlink "
        "mq_timedsend mq_timedreceive mq_notify mq_getsetattr",
    ),
    ("machine", "facts that are no secret", "uname sysinfo getrandom"),
)

# Families of sockets; of netlink only the part that getaddrinfo and getifaddrs ask.
_UNIX, _NETLINK, _NETLINK_ROUTE = 1, 16, 0
_INTERNET = ((2, 1), (10, 58))  # IPv4 and IPv6, each with the protocol that ping speaks
_STREAM, _DATAGRAM, _RAW, _KIND = 1, 2, 3, 0xF  # of raw ones the kernel asks the capability
_TCP, _UDP = 6, 17
_FCNTL_REFUSED = (1024, 1026, 1031)  # F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ
_NAMESPACES = 0x7E020000  # every CLONE_NEW* that clone can carry
_TERMINAL_INJECTION = (0x5412, 0x541C)  # ioctl TIOCSTI and TIOCLINUX
_PERSONALITIES = (0, 0xFFFFFFFF)  # Linux, and asking

_FILE_TYPE, _NAMED_PIPE = 0xF000, 0x1000  # of a mode

_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_KILL = 0x80000000

_LOAD, _EQUAL, _GREATER, _AT_LEAST, _BITS, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
_AND = 0x54
_NUMBER, _ARCH = 0, 4


def _step(code, k, true=0, false=0):
    return struct.pack("HBBI", code, true, false, k)


def _argument(index):
    return 16 + 8 * index  # the low 32 bits, little-endian machines


def _refuse(error):
    return _step(_RETURN, _ERRNO | error)


def _when(number, body):
    """Run a body, which must return, for one system call; otherwise skip it."""
    return [_step(_EQUAL, number, 0, len(body)), *body]


def _one_of(index, values, error=errno.EPERM):
    """Allow when the argument is one of the values, else the error."""
    tests = [_step(_EQUAL, value, len(values) - place, 0) for place, value in enumerate(values)]
    return [_step(_LOAD, _argument(index)), *tests, _refuse(error), _step(_RETURN, _ALLOW)]


def _none_of(index, values):
    """Allow unless the argument is one of the values."""
    tests = [_step(_EQUAL, value, len(values) - place, 0) for place, value in enumerate(values)]
    return [_step(_LOAD, _argument(index)), *tests, _step(_RETURN, _ALLOW), _refuse(errno.EPERM)]


def _sockets():
    """By family, then kind, then protocol."""
    unknown = errno.EPROTONOSUPPORT
    steps = [_step(_LOAD, _argument(0)), *_when(_UNIX, [_step(_RETURN, _ALLOW)])]
    steps += _when(_NETLINK, _one_of(2, (_NETLINK_ROUTE,), unknown))
    for family, ping in _INTERNET:
        steps += _when(
            family,
            [
                _step(_LOAD, _argument(1)),
                _step(_AND, _KIND),
                *_when(_STREAM, _one_of(2, (0, _TCP), unknown)),
                *_when(_DATAGRAM, _one_of(2, (0, _UDP, ping), unknown)),
                *_when(_RAW, [_step(_RETURN, _ALLOW)]),
                _refuse(unknown),
            ],
        )
    return [*steps, _refuse(errno.EPERM)]


def _named_pipes(index):
    """By the mode: what ``mkfifo`` asks for, and no device."""
    kind = [_step(_LOAD, _argument(index)), _step(_AND, _FILE_TYPE)]
    return [*kind, *_when(_NAMED_PIPE, [_step(_RETURN, _ALLOW)]), _refuse(errno.EPERM)]


def allowed(machine):
    """The numbers of the allow-list on a machine, sorted."""
    numbers = NUMBERS[machine]
    names = {name for _, _, listed in GROUPS for name in listed.split()}
    return sorted(numbers[name] for name in names if name in numbers)


def _ranges(numbers):
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges


def program(machine=None):
    """The filter as bytes of ``struct sock_filter``. KeyError on an unknown machine."""
    machine = machine or os.uname().machine
    call = NUMBERS[machine]
    allow, deny = _step(_RETURN, _ALLOW), _refuse(errno.EPERM)
    steps = [
        _step(_LOAD, _ARCH),
        _step(_EQUAL, _AUDIT[machine], 1, 0),
        _step(_RETURN, _KILL),  # another architecture's calls carry other numbers
        _step(_LOAD, _NUMBER),
        _step(_GREATER, NEWEST, 0, 1),  # newer than the tables, or of the x32 kind
        _refuse(errno.ENOSYS),
    ]
    steps += _when(call["clone3"], [_refuse(errno.ENOSYS)])
    steps += _when(
        call["clone"],
        [_step(_LOAD, _argument(0)), _step(_BITS, _NAMESPACES, 0, 1), deny, allow],
    )
    steps += _when(call["socket"], _sockets())
    steps += _when(call["socketpair"], _one_of(0, (_UNIX,)))
    steps += _when(call["personality"], _one_of(0, _PERSONALITIES))
    steps += _when(call["fcntl"], _none_of(1, _FCNTL_REFUSED))
    steps += _when(call["inotify_add_watch"], [_refuse(errno.EACCES)])
    for name, mode in (("mknod", 1), ("mknodat", 2)):
        if name in call:
            steps += _when(call[name], _named_pipes(mode))
    steps += _when(call["ioctl"], _none_of(1, _TERMINAL_INJECTION))
    for low, high in _ranges(allowed(machine)):
        steps += [_step(_GREATER, high, 3, 0), _step(_AT_LEAST, low, 0, 1), allow, deny]
    steps.append(deny)
    return b"".join(steps)
