"""What the model leaves out (README, the table): where a scenario could notice, it is refused in
words or the difference is pinned here. A row that comes into the model loses its test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bpflife.model.catalogue import system_for
from bpflife.model.documents import InputError, Scenario, Step
from bpflife.model.language import specs
from bpflife.model.simulator import play
from bpflife.model.vocabulary import VOCABULARY

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def refused(message: str, *steps: Step, cards: tuple[str, ...] = ()) -> None:
    with pytest.raises(InputError, match=message) as caught:
        play(Scenario(scenario="left-out", cards=list(cards), steps=list(steps)))
    assert "\n" not in str(caught.value)


def test_the_table_is_there() -> None:
    rows = re.findall(
        r"^\| (.+) \| (.+) \|$", README[README.index("## What the model leaves") :], re.M
    )
    assert len(rows) > 12


def test_sockets_are_not_sent() -> None:
    refused(
        "fd: the model does not send a socket",
        Step(do="socketpair", by="a", left="l", right="r"),
        Step(do="send", by="a", over="l", fd="r"),
    )


def test_a_message_carries_four_descriptors() -> None:
    refused(
        "fd: a message of the model carries 1 to 4 descriptors",
        Step(do="socketpair", by="a", left="l", right="r"),
        Step(do="map_create", by="a", map="m"),
        Step(do="send", by="a", over="l", fd=["m"] * 5),
    )


def test_only_streams_have_names() -> None:
    refused(
        "socket: the model does not bind a dgram socket",
        Step(do="socket", by="a", socket="mail", type="dgram"),
        Step(do="bind", by="a", socket="mail"),
    )


def test_only_datagram_sockets_come_into_sockmaps() -> None:
    refused(
        "socket: the model does not map_update a stream socket",
        Step(do="map_create", by="a", map="m", type="sockmap"),
        Step(do="socket", by="a", socket="s"),
        Step(do="map_update", by="a", map="m", key=0, socket="s"),
    )


def test_plain_maps_have_no_elements() -> None:
    refused(
        "map: the model has no elements for a map of type array",
        Step(do="map_create", by="a", map="m"),
        Step(do="map_update", by="a", map="m", key=0, value="m"),
    )


def test_maps_have_eight_elements() -> None:
    refused(
        "key: a number from 0 to 7",
        Step(do="map_create", by="a", map="m", type="prog_array"),
        Step(do="map_delete", by="a", map="m", key=8),
    )


def test_nothing_is_sent_to_a_socket_with_an_sk_skb_program() -> None:
    """What arrives goes through the program, and is received without its descriptors."""
    refused(
        "over: the model sends nothing to a socket that has an sk_skb program",
        Step(do="map_create", by="a", map="m", type="sockmap"),
        Step(do="prog_load", by="a", prog="p", type="sk_skb"),
        Step(do="socketpair", by="a", left="l", right="r"),
        Step(do="map_attach", by="a", map="m", prog="p"),
        Step(do="map_update", by="a", map="m", key=0, socket="l"),
        Step(do="send", by="a", over="r", fd="m"),
    )


def test_a_sockmap_has_two_hooks() -> None:
    refused(
        "attach_type: one of sk_skb_verdict, sk_msg_verdict",
        Step(do="map_create", by="a", map="m", type="sockmap"),
        Step(do="prog_load", by="a", prog="p", type="sk_skb"),
        Step(do="map_attach", by="a", map="m", prog="p", attach_type="sk_skb_stream_verdict"),
    )


def test_other_links_cannot_be_made() -> None:
    refused(
        "do: no step `raw_tracepoint_open`",
        Step(do="prog_load", by="a", prog="p"),
        Step(do="raw_tracepoint_open", by="a", prog="p"),
        cards=("cgroup_link",),
    )


def test_programs_with_btf_are_for_one_tracepoint() -> None:
    refused(
        "prog: no tracepoint has a name yet",
        Step(do="prog_load", by="a", prog="p", type="tracing"),
        Step(do="link_create", by="a", prog="p", link="l"),
        cards=("tp_btf",),
    )
    steps = [
        *(Step(do="name_tracepoint", by="a", target=name) for name in ("first", "second")),
        Step(do="prog_load", by="a", prog="p", type="tracing"),
        Step(do="link_create", by="a", prog="p", link="l"),
    ]
    settled = play(Scenario(scenario="first", cards=["tp_btf"], steps=steps)).steps[-1].settled
    assert settled is not None
    assert settled.hooks == {"first": ["p"], "second": []}


def test_a_program_for_uprobe_multi_is_for_nothing_else() -> None:
    steps = [
        Step(do="uprobe_open", by="a", target="probe"),
        Step(do="prog_load", by="a", prog="p", type="uprobe_multi"),
        Step(do="attach", by="a", event="probe", prog="p"),
    ]
    scenario = Scenario(scenario="other", cards=["uprobe", "uprobe_multi"], steps=steps)
    assert play(scenario).steps[-1].errno == "EINVAL"


def test_a_hook_has_one_program_of_its_own() -> None:
    refused("are both about a cgroup", cards=("cgroup_legacy", "bad_replace_gap"))
    refused(
        "flags: no such field",
        Step(do="cgroup_make", by="a", target="web"),
        Step(do="prog_load", by="a", prog="p"),
        Step(do="attach", by="a", target="web", prog="p", flags="allow_multi"),
        cards=("cgroup_legacy", "cgroup_link"),
    )


def test_a_links_last_close_leaves_it_to_a_work_item() -> None:
    """When close returns the link still stands in the hook's list, and an event may run it."""
    steps = [
        Step(do="cgroup_make", by="a", target="web"),
        Step(do="prog_load", by="a", prog="p"),
        Step(do="link_create", by="a", link="l", target="web", prog="p"),
        Step(do="close", by="a", fd="l"),
        Step(do="enter", cpu="cpu0", hook="web"),
    ]
    scenario = Scenario(scenario="late", cards=["cgroup_link"], settle=False, steps=steps)
    assert play(scenario).steps[-1].errno is None


@pytest.mark.parametrize("kind", ["sockhash", "struct_ops", "lru_hash"])
def test_other_maps_cannot_be_made(kind: str) -> None:
    refused(
        "type: one of array, hash, prog_array", Step(do="map_create", by="a", map="m", type=kind)
    )


def test_a_cpumap_has_the_keys_of_the_models_cpus() -> None:
    refused(
        "key: a cpumap's keys are CPUs: a number from 0 to 1",
        Step(do="map_create", by="a", map="m", type="cpumap"),
        Step(do="map_update", by="a", map="m", key=2),
    )


def test_what_a_failed_call_left_is_put_into_no_map() -> None:
    """-1 is EBADF to a prog array, and no program to a devmap."""
    refused(
        "value: `p` never got a number: its call failed",
        Step(do="map_create", by="a", map="m", type="devmap"),
        Step(do="close", by="a", fd="m"),
        Step(do="prog_load", by="a", prog="p", maps=["m"]),
        Step(do="map_update", by="a", map="m", key=0, value="p"),
    )


@pytest.mark.parametrize("path", ["with.dot", "../up", "a/b/c", "m1/with.dot"])
def test_instances_of_bpffs_are_flat(path: str) -> None:
    refused(
        "path: a name in /sys/fs/bpf/",
        Step(do="map_create", by="a", map="m"),
        Step(do="pin", by="a", fd="m", path=path),
    )


def test_the_first_instance_is_not_unmounted() -> None:
    """Nor opened as a directory, nor mounted over: it has no name that a mount point could have."""
    for do in ("mount", "umount", "open_dir"):
        refused("at: a name of at most 40 characters", Step(do=do, by="a", at="/sys/fs/bpf"))


@pytest.mark.parametrize(
    "step",
    [
        Step(do="umount", by="a", at="m1"),
        Step(do="open_dir", by="a", at="m1"),
        Step(do="pin", by="a", fd="m", path="m1/name"),
    ],
)
def test_only_mounts_make_mount_points(step: Step) -> None:
    refused("nothing was ever mounted at `m1`", Step(do="map_create", by="a", map="m"), step)


def test_other_directories_are_not_opened() -> None:
    refused(
        "at: a sees no bpffs there, and other directories are not in the model",
        Step(do="mount", by="a", at="m1"),
        Step(do="umount", by="a", at="m1"),
        Step(do="open_dir", by="a", at="m1"),
    )


def test_a_name_is_made_once() -> None:
    refused(
        "the name `web` is taken",
        Step(do="cgroup_make", by="a", target="web"),
        Step(do="cgroup_remove", by="a", target="web"),
        Step(do="cgroup_make", by="a", target="web"),
        cards=("cgroup_legacy",),
    )


def test_the_first_network_namespace_is_not_opened() -> None:
    refused(
        "process: b is in the world's first network namespace, which is no object of the model",
        Step(do="spawn", by="b"),
        Step(do="open_net", by="a", process="b"),
    )


def test_a_proof_counts_no_list() -> None:
    """Whether there is room is anybody's guess there, so both ways are taken."""
    proved, played = system_for(["cgroup_link"], "core"), system_for(["cgroup_link"])
    guess = [{p.name for e in x.graphs["cgroup_link.attach"].edges for p in e.step.params}
             for x in (proved, played)]  # fmt: skip
    assert ["full" in names for names in guess] == [True, False]


def test_an_event_is_attached_to_by_the_card_of_its_kind() -> None:
    refused(
        "api: `u` is a uprobe: say `api: uprobe`",
        Step(do="uprobe_open", by="a", target="u"),
        Step(do="prog_load", by="a", prog="p", type="kprobe"),
        Step(do="attach", by="a", api="perf_event", event="u", prog="p"),
        cards=("perf_event", "uprobe"),
    )


@pytest.mark.parametrize("more", [{"revision": 1}, {"direction": "egress"}, {"before_id": "p"}])
def test_a_list_has_one_direction_and_no_revision(more: dict[str, object]) -> None:
    refused(
        f"{next(iter(more))}: no such field",
        Step(do="make_veth", by="a", target="left", peer="right"),
        Step(do="prog_load", by="a", prog="p", type="sched_cls"),
        Step(do="attach", by="a", target="left", prog="p", **more),
        cards=("tcx",),
    )


def test_a_netfilter_link_is_not_updated() -> None:
    start = [
        Step(do="unshare_net", by="a"),
        Step(do="prog_load", by="a", prog="p", type="netfilter"),
        Step(do="link_create", by="a", api="netfilter_link", link="l", prog="p"),
    ]
    refused(
        "link: the model does not link_update a link of netfilter_link",
        *start,
        Step(do="link_update", by="a", api="sk_lookup", link="l", prog="p"),
        cards=("netfilter_link", "sk_lookup"),
    )
    refused(
        "priority: one of first, second, third",
        *start[:2],
        Step(do="link_create", by="a", link="l", prog="p", priority="fourth"),
        cards=("netfilter_link",),
    )


def test_what_is_done_with_a_link_is_said_by_its_card() -> None:
    start = [
        Step(do="make_veth", by="a", target="left", peer="right"),
        Step(do="prog_load", by="a", prog="p", type="xdp"),
        Step(do="link_create", by="a", api="xdp_link", link="l", target="left", prog="p"),
    ]
    refused(
        "api: `l` is of xdp_link: say `api: xdp_link`",
        *start,
        Step(do="link_detach", by="a", api="tcx_link", link="l"),
        cards=("tcx_link", "xdp_link"),
    )


def test_xdp_has_one_mode() -> None:
    refused(
        "mode: no such field",
        Step(do="make_veth", by="a", target="left", peer="right"),
        Step(do="detach", by="a", target="left", mode="drv"),
        cards=("xdp_netlink",),
    )


def test_an_expectation_is_a_program() -> None:
    refused(
        "expected: `p` never got a number: its call failed",
        Step(do="make_veth", by="a", target="left", peer="right"),
        Step(do="map_create", by="a", map="m"),
        Step(do="close", by="a", fd="m"),
        Step(do="prog_load", by="a", prog="p", type="xdp", maps=["m"]),
        Step(do="prog_load", by="a", prog="q", type="xdp"),
        Step(do="replace", by="a", target="left", prog="q", expected="p"),
        cards=("xdp_netlink",),
    )


def _with_clsact(*more: Step) -> list[Step]:
    return [
        Step(do="make_veth", by="a", target="left", peer="right"),
        Step(do="make_clsact", by="a", target="q", device="left"),
        Step(do="prog_load", by="a", prog="p", type="sched_cls"),
        *more,
    ]


def test_the_clsact_that_a_call_gets_is_that_of_its_device() -> None:
    refused(
        "target: q was deleted, and its device has another clsact by now: name that one",
        *_with_clsact(
            Step(do="delete_clsact", by="a", target="q"),
            Step(do="make_clsact", by="a", target="q2", device="left"),
            Step(do="filter_add", by="a", filter="one", target="q", prog="p"),
        ),
        cards=("tc_filter",),
    )


@pytest.mark.parametrize("field", ["handle", "prio", "direction"])
def test_a_filter_has_a_number_of_its_own(field: str) -> None:
    add = Step(do="filter_add", by="a", filter="one", target="q", prog="p", **{field: 1})
    refused(f"{field}: no such field", *_with_clsact(add), cards=("tc_filter",))


def test_a_route_is_not_moved() -> None:
    refused(
        "route: one leads to another device; the model moves no route",
        Step(do="make_veth", by="a", target="left", peer="right"),
        *[Step(do="switch_on", by="a", target=device) for device in ("left", "right")],
        Step(do="prog_load", by="a", prog="p", type="lwt_xmit"),
        Step(do="route_add", by="a", route="one", target="left", prog="p"),
        Step(do="route_change", by="a", route="one", target="right", prog="p"),
        cards=("lwt_route",),
    )


@pytest.mark.parametrize("field", ["to", "name", "lwt_in"])
def test_a_route_has_an_address_of_its_own(field: str) -> None:
    add = Step(do="route_add", by="a", route="one", target="left", prog="p", **{field: "x"})
    refused(
        f"{field}: no such field",
        Step(do="make_veth", by="a", target="left", peer="right"),
        Step(do="prog_load", by="a", prog="p", type="lwt_xmit"),
        add,
        cards=("lwt_route",),
    )


def test_a_part_about_a_kind_needs_a_card_about_it() -> None:
    make = Step(do="make_clsact", by="a", target="q", device="left")
    refused(r"without a card about a clsact \(cards: \[tc_filter\]\)", make)


def test_nothing_is_done_to_the_loopback_device() -> None:
    refused("target: no netdev `lo` was made before", Step(do="delete_device", by="a", target="lo"))


@pytest.mark.parametrize("do", ["move_device", "link_create", "token_create", "rmdir", "test_run"])
def test_what_is_not_in_the_language(do: str) -> None:
    assert do not in {spec.do for spec in specs(system_for(["cgroup_legacy"]))}
    refused(f"no step `{do}`", Step(do=do, by="a"))


def test_a_load_takes_btf_or_an_fd_array() -> None:
    refused(
        "btf: no such field",
        Step(do="btf_load", by="a", btf="types"),
        Step(do="prog_load", by="a", prog="p", btf="types", fd_array=["types"]),
    )


def test_there_are_two_flavours_of_grace_period() -> None:
    waits = {form for form in VOCABULARY if form.startswith("wait")}
    assert waits == {
        "wait rcu: begin", "wait rcu tasks trace: begin", "wait rcu by flavour: begin",
        "wait rcu if deferred: begin", "wait rcu if deferred: end", "wait rcu: end",
    }  # fmt: skip


def test_a_grace_period_waits_for_its_own_flavour_only() -> None:
    """Of RCU tasks trace too, though today's also waits for RCU (rcu_trace_implies_rcu_gp)."""
    steps = [
        Step(do="cgroup_make", by="a", target="web"),
        Step(do="prog_load", by="a", prog="p", type="cgroup_skb"),
        Step(do="attach", by="a", target="web", prog="p"),
        Step(do="enter", cpu="cpu0", hook="web"),
        Step(do="prog_load", by="a", prog="sleeper", type="kprobe", sleepable=True),
        Step(do="close", by="a", fd="sleeper"),
    ]
    trace = play(Scenario(scenario="flavours", cards=["cgroup_legacy"], steps=steps))
    assert trace.states[-1].objects["sleeper"].life == "freed"


def test_a_tail_call_is_not_followed() -> None:
    """Its target is held by the array, or has a grace period of its own: not that of the caller."""
    steps = [
        Step(do="cgroup_make", by="a", target="web"),
        Step(do="map_create", by="a", map="tails", type="prog_array"),
        Step(do="prog_load", by="a", prog="p", type="cgroup_skb", maps=["tails"]),
        Step(do="prog_load", by="a", prog="tail", type="cgroup_skb"),
        Step(do="map_update", by="a", map="tails", key=0, value="tail"),
        Step(do="attach", by="a", target="web", prog="p"),
        Step(do="enter", cpu="cpu0", hook="web"),
    ]
    trace = play(Scenario(scenario="tail", cards=["cgroup_legacy"], steps=steps))
    assert trace.states[-1].cpus["cpu0"] == "p"


def test_an_array_emptied_twice_before_the_work_has_run_is_held_once() -> None:
    """Its work item is pending when its user count falls to zero again: the kernel increments again
    and queues nothing, so that reference is lost; the model holds the array once."""
    steps = [
        Step(do="map_create", by="a", map="m", type="prog_array"),
        Step(do="prog_load", by="a", prog="p", maps=["m"]),
        Step(do="close", by="a", fd="m"),
        Step(do="fire", rule="file.1.done", me="file 1"),
        Step(do="fire", rule="file.2", me="file 1"),
        Step(do="get_fd_by_id", by="a", object="m", fd="again"),
        Step(do="close", by="a", fd="again"),
        Step(do="fire", rule="file.1.done", me="file 3"),
        Step(do="fire", rule="file.2", me="file 3"),
    ]
    trace = play(Scenario(scenario="twice", settle=False, steps=steps))
    array = trace.states[-1].objects["m"]
    assert (array.refcnt, array.usercnt) == (2, 0)  # the program, and the work item once
