"""Names and numbers of the BPF user interface (include/uapi/linux/bpf.h).

Names are the kernel's, in lower case and without their prefix.
"""

from __future__ import annotations

from typing import Final

MAP_TYPES: Final = {
    "hash": 1,
    "array": 2,
    "prog_array": 3,
    "perf_event_array": 4,
    "percpu_hash": 5,
    "percpu_array": 6,
    "lru_hash": 9,
    "array_of_maps": 12,
    "hash_of_maps": 13,
    "devmap": 14,
    "sockmap": 15,
    "cpumap": 16,
    "devmap_hash": 25,
    "struct_ops": 26,
    "ringbuf": 27,
}
PROG_TYPES: Final = {
    "socket_filter": 1,
    "kprobe": 2,
    "sched_cls": 3,
    "sched_act": 4,
    "tracepoint": 5,
    "xdp": 6,
    "perf_event": 7,
    "cgroup_skb": 8,
    "cgroup_sock": 9,
    "lwt_in": 10,
    "lwt_out": 11,
    "lwt_xmit": 12,
    "sock_ops": 13,
    "sk_skb": 14,
    "cgroup_device": 15,
    "sk_msg": 16,
    "raw_tracepoint": 17,
    "cgroup_sock_addr": 18,
    "sk_reuseport": 21,
    "flow_dissector": 22,
    "cgroup_sysctl": 23,
    "cgroup_sockopt": 25,
    "tracing": 26,
    "sk_lookup": 30,
    "syscall": 31,
    "netfilter": 32,
}
ATTACH_TYPES: Final = {
    "cgroup_inet_ingress": 0,
    "cgroup_inet_egress": 1,
    "cgroup_inet_sock_create": 2,
    "cgroup_sock_ops": 3,
    "sk_skb_stream_parser": 4,
    "sk_skb_stream_verdict": 5,
    "cgroup_device": 6,
    "sk_msg_verdict": 7,
    "cgroup_inet4_bind": 8,
    "cgroup_inet6_bind": 9,
    "cgroup_inet4_connect": 10,
    "cgroup_inet6_connect": 11,
    "flow_dissector": 17,
    "cgroup_sysctl": 18,
    "cgroup_getsockopt": 21,
    "cgroup_setsockopt": 22,
    "trace_raw_tp": 23,
    "trace_iter": 28,
    "xdp_devmap": 33,
    "xdp_cpumap": 35,
    "sk_lookup": 36,
    "xdp": 37,
    "sk_skb_verdict": 38,
    "perf_event": 41,
    "netfilter": 45,
    "tcx_ingress": 46,
    "tcx_egress": 47,
    "trace_uprobe_multi": 48,
}
LINK_TYPES: Final = {
    "raw_tracepoint": 1,
    "tracing": 2,
    "cgroup": 3,
    "iter": 4,
    "netns": 5,
    "xdp": 6,
    "perf_event": 7,
    "netfilter": 10,
    "tcx": 11,
    "uprobe_multi": 12,
    "sockmap": 14,
}
MODES: Final = {"read_write": 0, "read_only": 1 << 3, "write_only": 1 << 4}  # of a map's file
MAP_FLAGS: Final = {"no_prealloc": 1, "mmapable": 1 << 10, "preserve_elems": 1 << 11, **MODES}
PROG_FLAGS: Final = {"sleepable": 1 << 4}
PATH_FD: Final = 1 << 14  # BPF_F_PATH_FD: a path is relative to a directory's descriptor
ATTACH_FLAGS: Final = {
    "allow_override": 1,
    "allow_multi": 2,
    "replace": 4,
    "before": 8,
    "after": 16,
    "preorder": 64,
}
RELATIVES: Final = {  # what "before" and "after" name another attachment by: BPF_F_ID, BPF_F_LINK
    "prog": 0, "link": 1 << 13, "prog_id": 1 << 5, "link_id": 1 << 5 | 1 << 13
}  # fmt: skip


def number_of(names: dict[str, int], name: str | int) -> int:
    """The number of a UAPI name; ValueError if it is unknown. Numbers pass through."""
    if isinstance(name, int):
        return name
    if name not in names:
        raise ValueError(f"unknown name {name!r}, expected one of {', '.join(names)}")
    return names[name]
