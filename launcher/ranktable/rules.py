"""The rules of `rank-table lint`: id, one line, and the explanation that `--explain` prints."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from launcher.errors import UsageError


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `why` says what goes wrong in a run when it is broken, `fix` what to do about it."""

    id: str
    title: str
    why: str
    fix: str


RULES: dict[str, Rule] = {
    rule.id: rule
    for rule in (
        Rule(
            "RT001",
            "the table's version fits the chip",
            "910 and 910B read version 1.0, Atlas A3 reads 1.2 (super pods) or 1.0 (server mode), Ascend 950 "
            "reads 2.0. Any other version ends every rank of a run on several devices with EI0014.",
            "Generate the table for this chip, or name the right chip.",
        ),
        Rule(
            "RT002",
            "status is completed",
            "A platform writes the file early with status initializing and fills it in later. Ranks that read it "
            "before it is completed see too few devices and hang or fail.",
            "Wait for the platform (`rank-table convert --wait`), or set completed in a table of your own.",
        ),
        Rule(
            "RT003",
            "ranks run from 0 to N-1, each once",
            "A rank that is missing or appears twice leaves the others waiting in their first collective "
            "operation until HCCL_CONNECT_TIMEOUT.",
            "`rank-table merge` renumbers.",
        ),
        Rule(
            "RT004",
            "the ranks of two servers are not interleaved",
            "HCCL supports only consecutive ranks on a server: {0,1,2,3} and {4,5,6,7}, never {0,1,2,7} and {3,4,5,6}.",
            "Number server after server.",
        ),
        Rule(
            "RT005",
            "a device appears once on its server",
            "Two ranks on one device fight for its memory. 910B and A3 allow several processes on a device when each "
            "has its own device_port; 910 never does.",
            "Remove the repetition, or give each entry a device_port.",
        ),
        Rule(
            "RT006",
            "a device address appears once",
            "Two devices with one address: packets for one reach the other, and the link never comes up. "
            "It is the usual result of copying one machine's file to the next.",
            "Read the addresses again on each machine: hccn_tool -i N -ip -g.",
        ),
        Rule(
            "RT007",
            "the devices of a server are a legal set",
            "910: 1, 2, 4 or 8 devices, where 2 and 4 lie inside group 0-3 or group 4-7. 910B: any number. "
            "Atlas A3: 1, or whole cards (pairs 0-1, 2-3, ...), since each card is two devices.",
            "Choose another set of devices.",
        ),
        Rule(
            "RT008",
            "a server appears once",
            "HCCL tells machines apart by server_id. Two entries with one id are taken for one machine, and ranks "
            "try to reach each other over a link that is not there.",
            "Give every machine its own id, normally its address. Two files of one machine: merge only one.",
        ),
        Rule(
            "RT009",
            "server_id is text of 1 to 64 characters",
            "HCCL refuses longer ones (EI0004).",
            "Use the machine's address.",
        ),
        Rule(
            "RT010",
            "server_id is no loopback address",
            "Host names often resolve to 127.0.1.1 on the machine itself. Every machine then has the same id, "
            "and tables can't be merged.",
            "Generate with --server-ip and the address that the other machines see.",
        ),
        Rule(
            "RT011",
            "device addresses are there where they are needed",
            "910 always needs device_ip. 910B and A3 need it as soon as there are several servers (1.0) or several "
            "super pods (1.2).",
            "Read them with hccn_tool -i N -ip -g or from hccn.conf; in a container, mount both from the host.",
        ),
        Rule(
            "RT012",
            "device addresses are real addresses",
            "-.-.-.- is what tools print for a network card that was never configured; 192.0.2.x, 198.51.100.x, "
            "203.0.113.x and 2001:db8:: are reserved for examples.",
            "Configure the card (hccn_tool -i N -ip -s address A netmask M) or replace the example.",
        ),
        Rule(
            "RT013",
            "the counts in the file agree with its lists",
            "server_count, rank_count, group_count, instance_count and device_count must equal what the lists "
            "hold (EI0004 otherwise). A difference often means that an entry was lost while editing.",
            "Find out which of the two is right. `rank-table convert` writes the counts afresh.",
        ),
        Rule(
            "RT014",
            "values have the right JSON type",
            'Versions 1.0 and 1.2 spell every value as a string, "rank_id": "0". Version 2.0 wants numbers. '
            "The usual merge script writes rank_id as a number.",
            "`rank-table convert` rewrites the file.",
        ),
        Rule(
            "RT015",
            "required values are there and readable",
            "device_id and rank_id must be integers, lists must be lists, and a key may appear once in an object.",
            "Correct the value at the place named.",
        ),
        Rule(
            "RT016",
            "the table is the one that the run needs",
            "A table with more or fewer ranks or machines than the job asks for is one of another run: the ranks "
            "wait for others that are never started.",
            "Generate the table for this job.",
        ),
        Rule(
            "RT017",
            "every server takes part with the same devices",
            "910 needs the same number on every server. Elsewhere it is advice: the slowest server sets the pace.",
            "Use the same devices on every machine.",
        ),
        Rule(
            "RT018",
            "the servers of a super pod stand together",
            "HCCL does not support servers of one super pod listed between those of another.",
            "List one pod after the other and renumber.",
        ),
        Rule(
            "RT019",
            "super_pod_list names every server once",
            "Every server belongs to exactly one pod, by the same server_id as in server_list.",
            "Correct super_pod_list.",
        ),
        Rule(
            "RT020",
            "devices have their super_device_id",
            "Version 1.2 finds a device in its pod by super_device_id (the SDID of npu-smi info -t spod-info). "
            "Without it, or without super_pod_list, HCCL falls back to plain server mode; an empty one is refused; "
            "twice in one pod is EI0014.",
            "Generate on the machine, or add the SDIDs.",
        ),
        Rule(
            "RT021",
            "ports are legal and not shared",
            "Ports are 1 to 65535, of which 1 to 1023 belong to the system. host_port must differ within a server, "
            "device_port between the processes of one device, and a card's main port from its backup port.",
            "Choose other ports, or leave them out.",
        ),
        Rule(
            "RT022",
            "host_ip is an IPv4 address",
            "HCCL's operator retry needs it and stays off, without a word, when it can't be read.",
            "Write the machine's IPv4 address.",
        ),
        Rule(
            "RT023",
            "keys are known",
            "Unknown keys are ignored by HCCL, so a misspelt one has no effect.",
            "Correct the spelling.",
        ),
        Rule(
            "RT024",
            "the backup address belongs to the other half of the same card",
            "Atlas A3 can borrow the network card of the other device on the same card, and no other.",
            "Use the address of device_id with its last bit flipped, or leave the key out.",
        ),
        Rule(
            "RT025",
            "the table was converted",
            "A platform that starts pods may write a group_list. Ranks that it gives are kept. Without them, ranks follow the number at the end of the pod name, then "
            "the order of devices in the pod. With ROUTE_PLAN=true the platform wants another order.",
            "Nothing to do.",
        ),
        Rule(
            "RT026",
            "network layers are complete (2.0)",
            "Layers start at 0 and ascend; layer 0 has net_type TOPO_FILE_DESC; each layer has 1 to 24 addresses of "
            "the type it names; a list has at most 8 layers.",
            "Take the platform's file again.",
        ),
        Rule(
            "RT027",
            "a rank table is of use on this chip",
            "CPU ranks find each other through the scheduler (MS_SCHED_HOST, MS_SCHED_PORT).",
            "Leave the table out.",
        ),
        Rule(
            "RT028",
            "the table agrees with this machine",
            "HCCL compares device_ip with the network card and refuses a difference (EI0014). Tables go stale "
            "when a machine is replaced or its cards are configured again.",
            "Generate the table again.",
        ),
        Rule(
            "RT029",
            "device addresses are of one family",
            "HCCL refuses a table in which one device has an IPv4 address and another one an IPv6 address (EI0014).",
            "Give every card an address of one family; env.HCCL_SOCKET_FAMILY says which one HCCL takes.",
        ),
    )
}


def explain(rule_id: str) -> str:
    """The full text of a rule. Raises UsageError with near ids."""
    rule = RULES.get(rule_id.upper())
    if rule is None:
        near = difflib.get_close_matches(rule_id.upper(), RULES, 3, 0.6)
        raise UsageError(f"no rule {rule_id!r}", hint=f"Known: {', '.join(near or RULES)}.")
    return f"{rule.id}: {rule.title}\n\n{rule.why}\n\nFix: {rule.fix}"
