"""The steps that build a root, carried out one after another as the plan lists them.

The plan is made by the platform (``sandbox/plan.py``), where each step can be printed; here is
what each step does. Paths of sources are the host's, seen below ``host`` once the root has been
entered. A step that fails ends the start: nothing runs in a half-built root.
"""

import os

from . import linux

# The same bits for ``mount`` and for the attributes of a mount that is there.
_FLAGS = {
    "ro": linux.MS_RDONLY,
    "nosuid": linux.MS_NOSUID,
    "nodev": linux.MS_NODEV,
    "noexec": linux.MS_NOEXEC,
}
_ALL_FLAGS = sum(_FLAGS.values())


class StepFailed(Exception):
    """index: the step's place in the plan. reason: what the kernel said."""

    def __init__(self, index, step, reason):
        super().__init__(f"step {index} ({step.get('op')}): {reason}")
        self.index = index
        self.reason = reason


def _flags(names):
    return sum(_FLAGS[name] for name in names)


def _bind(step, host, fds):
    recursive = step["recursive"]
    fd = linux.open_tree(host + step["source"], recursive)
    try:
        linux.set_mount_flags(fd, _flags(step["flags"]), recursive=recursive)
        linux.move_mount(fd, step["target"])
    finally:
        os.close(fd)


def _tmpfs(step, host, fds):
    options = f"size={step['size_bytes']},nr_inodes={step['inodes']},mode={step['mode']:o}"
    linux.mount("tmpfs", step["target"], "tmpfs", _flags(step["flags"]), options)


def _volume(step, host, fds):
    linux.move_mount(fds[step["fd"]], step["target"])


def _directory(step, host, fds):
    os.makedirs(step["path"], mode=step["mode"], exist_ok=True)


def _file(step, host, fds):
    with open(step["path"], "w", encoding="utf-8") as file:
        file.write(step["text"])
    os.chmod(step["path"], 0o444)


def _symlink(step, host, fds):
    os.symlink(step["target"], step["path"])


def _proc(step, host, fds):
    linux.mount("proc", step["target"], "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)


def _cover(step, host, fds):
    """Hide what stands at a path: a directory by an empty one, a file by the null device."""
    path = step["path"]
    if os.path.isdir(path):
        linux.mount("tmpfs", path, "tmpfs", _ALL_FLAGS, "size=0")
    elif os.path.exists(path):
        fd = linux.open_tree("/dev/null")
        linux.move_mount(fd, path)
        os.close(fd)


def _readonly(step, host, fds):
    """Make what stands at a path read-only, by a mount of its own if it is none."""
    path = step["path"]
    if not os.path.exists(path):
        return
    if not step["mounted"]:
        fd = linux.open_tree(path)
        linux.set_mount_flags(fd, _ALL_FLAGS)
        linux.move_mount(fd, path)
        os.close(fd)
    else:
        linux.set_mount_flags(linux.AT_FDCWD, _flags(step["flags"]), os.fsencode(path))


def _overlay(step, host, fds):
    """Merge read-only directories; the first listed lies on top. Short names, since the kernel
    takes all of them in one page."""
    lowers = []
    try:
        for number, lower in enumerate(step["lowers"]):
            short = f"{step['work']}/{number}"
            fd = linux.open_tree(host + lower, step["recursive"])
            linux.move_mount(fd, short)
            os.close(fd)
            lowers.append(short)
        flags = linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV
        linux.mount("overlay", step["target"], "overlay", flags, "lowerdir=" + ":".join(lowers))
    finally:
        for short in lowers:
            linux.umount(short)


def _detach(step, host, fds):
    linux.umount(step["path"])


_STEPS = {
    "bind": _bind,
    "tmpfs": _tmpfs,
    "volume": _volume,
    "directory": _directory,
    "file": _file,
    "symlink": _symlink,
    "proc": _proc,
    "cover": _cover,
    "readonly": _readonly,
    "overlay": _overlay,
    "detach": _detach,
}


def carry_out(steps, host="", fds=(), first=0):
    """Apply every step. StepFailed says which one could not be, counted from ``first``."""
    for index, step in enumerate(steps, first):
        try:
            _STEPS[step["op"]](step, host, fds)
        except OSError as error:
            raise StepFailed(index, step, str(error)) from error
