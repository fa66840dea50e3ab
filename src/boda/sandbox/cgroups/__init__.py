"""Memory, CPU and process limits, freezing and accounting, by cgroups of version 2 or 1.

Only the runtime process and its children are in a sandbox's cgroup. The init stays outside: it
must not be frozen, killed for memory or counted, since it ends everything when the platform dies.

    <own>/boda-<instance>/<sandbox_id>      one directory in version 2, one per hierarchy in 1
"""
