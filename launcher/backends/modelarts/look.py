"""A look at what the service offers for one job: findings for `doctor --job` and `check --ask`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence

from launcher.backends.modelarts.errors import ServiceError
from launcher.backends.modelarts.login import sdk_missing
from launcher.backends.modelarts.machines import options_of
from launcher.backends.modelarts.offer import FROZEN, MOST_WAITING, Flavor, Offer, Pool
from launcher.backends.modelarts.values import flavor as flavor_of
from launcher.errors import LauncherError
from launcher.findings import Finding
from launcher.plan.model import ASCEND_DEVICES, Plan

_CONSOLE = "ModelArts console"


def look(plan: Plan, offer: Offer) -> list[Finding]:
    """What the service says of everything that the job names. A question that is refused is a finding, and stops no other."""
    if sdk_missing():
        return []  # MA050 says so
    findings: list[Finding] = []
    for subject, question in _QUESTIONS.items():
        try:
            findings += question(plan, offer)
        except ServiceError as error:
            if error.unclear or error.status == 401:  # away, or the keys are wrong: MA051 says so
                break
            message = f"the service does not tell the {subject}: {error.what}"
            fix = error.hint or f"look at it in the {_CONSOLE}"
            findings.append(Finding("MA062", "info", message, "modelarts", fix, "platform"))
        except LauncherError:  # no credentials, or no region: MA051 says so
            break
    return findings


def _authorisation(plan: Plan, offer: Offer) -> Iterator[Finding]:
    if not offer.authorised():
        fix = f"{_CONSOLE}: Permission Management → Add Authorization, with OBS, SWR and the log service"
        message = "ModelArts has no authorisation in this project: it can reach neither buckets nor images"
        yield Finding("MA056", "error", message, "modelarts", fix, "platform")


def _quota(plan: Plan, offer: Offer) -> Iterator[Finding]:
    quota = offer.job_quota()
    if quota is None:
        return
    used, most = quota
    if used >= most:
        fix = "`launcher delete` old runs, or ask your administrator for a higher quota"
        yield Finding(
            "MA057",
            "error",
            f"the quota of training jobs is used up: {used} of {most}",
            "modelarts",
            fix,
            "platform",
        )


def _pool(plan: Plan, offer: Offer) -> Iterator[Finding]:
    options = options_of(plan)
    if not options.pool_id:
        return
    try:
        pool = offer.pool(options.pool_id)
    except ServiceError as error:
        if not (error.bare_404 or error.status == 404):
            raise
        fix = "write the id of the pool, as its page shows it, not its name"
        yield Finding(
            "MA058", "error", f"there is no pool {options.pool_id}", "modelarts.pool_id", fix, "platform"
        )
        return
    if trouble := _trouble(pool):
        fix = "wait until it works, name another pool, or ask whoever pays for it"
        yield Finding(
            "MA058", "error", f"the pool {options.pool_id} {trouble}", "modelarts.pool_id", fix, "platform"
        )
        return
    yield from _room(plan, pool)
    waiting = offer.waiting(options.pool_id)
    if waiting:
        count = f"{waiting} or more" if waiting >= MOST_WAITING else str(waiting)
        message = f"training jobs that wait in the pool's queue: {count}"
        yield Finding("MA058", "info", message, "modelarts.pool_id", "", "platform")


def _free(plan: Plan, offer: Offer) -> Iterator[Finding]:
    """A job that waits is no error: machines become free."""
    pool_id = options_of(plan).pool_id
    if not pool_id or plan.device not in ASCEND_DEVICES:
        return
    cards = offer.free_cards(pool_id)
    free = sum(each >= plan.devices_per_node for each in cards)
    if cards and free < plan.nodes:
        message = f"{free} of {len(cards)} machines of the pool have {plan.devices_per_node} free cards now; the job waits for {plan.nodes}"
        yield Finding("MA058", "info", message, "modelarts.pool_id", "", "platform")


def _trouble(pool: Pool) -> str:
    """Why the pool takes no training; empty when it does."""
    if pool.phase and pool.phase != "Running":
        return f"is {pool.phase}" + (f": {pool.message}" if pool.message else "")
    if pool.control & FROZEN:
        return "is frozen: its bill is not paid, or it was closed"
    return "" if pool.trains else "does not take training jobs"


def _room(plan: Plan, pool: Pool) -> Iterator[Finding]:
    options = options_of(plan)
    flavor = flavor_of(plan, options)
    if flavor and pool.flavors and flavor not in pool.flavors:
        fix = f"it takes {', '.join(pool.flavors)}"
        message = f"the pool takes no jobs of the kind {flavor}"
        yield Finding("MA059", "error", message, _flavor_field(plan), fix, "platform")
    machines = sum(pool.machines.values())
    if pool.machines and plan.nodes > machines:
        message = f"the job wants {plan.nodes} machines, and {machines} of the pool work"
        fix = "name fewer nodes, or let the pool be repaired or enlarged; until then the job waits for ever"
        yield Finding("MA059", "error", message, "resources.nodes", fix, "platform")


def _flavor(plan: Plan, offer: Offer) -> Iterator[Finding]:
    """In the public pool: a dedicated one names its own kinds of machine."""
    options = options_of(plan)
    if options.pool_id or not options.flavor:
        return
    flavors = {each.id: each for each in offer.flavors()}
    found = flavors.get(options.flavor)
    if found is None:
        fix = _instead(options.flavor, [f.id for f in flavors.values() if _fits(f, plan)] or list(flavors))
        message = f"the public pool has no machines of the kind {options.flavor}"
        yield Finding("MA059", "error", message, "modelarts.flavor", fix, "platform")
        return
    if found.most and plan.nodes > found.most:
        message = f"a job may have {found.most} machines of the kind {found.id}, not {plan.nodes}"
        yield Finding("MA059", "error", message, "resources.nodes", "name fewer nodes", "platform")
    if found.cards and plan.device != "cpu" and plan.devices_per_node != found.cards:
        message = f"a machine of the kind {found.id} has {found.cards} cards, not {plan.devices_per_node}"
        fix = f"write devices_per_node: {found.cards}, or another flavor"
        yield Finding("MA059", "error", message, "resources.devices_per_node", fix, "platform")
    if found.billing:
        message = f"each machine is billed by the hour as {found.billing}, {plan.nodes} of them; the service tells no price"
        yield Finding("MA059", "info", message, "modelarts.flavor", "", "platform")


def _fits(flavor: Flavor, plan: Plan) -> bool:
    return flavor.kind == ("CPU" if plan.device == "cpu" else "Ascend")


def _flavor_field(plan: Plan) -> str:
    return "modelarts.flavor" if options_of(plan).flavor else "resources.devices_per_node"


def _engine(plan: Plan, offer: Offer) -> Iterator[Finding]:
    engine = options_of(plan).engine
    if not engine:
        return
    engines = offer.engines()
    if engine not in engines:
        fix = _instead(engine, engines)
        yield Finding("MA060", "error", f"there is no engine {engine}", "modelarts.engine", fix, "platform")


def _image(plan: Plan, offer: Offer) -> Iterator[Finding]:
    """An image may be in SWR without being registered with ModelArts, so one that is not listed is a warning."""
    options = options_of(plan)
    if not options.image or options.image_repo_id:
        return
    address = options.image.split("@")[0]
    path, _, tag = address.rpartition(":") if ":" in address.rpartition("/")[2] else (address, "", "latest")
    organisation, _, name = path.rpartition("/")
    images = offer.images(organisation.rpartition("/")[2], name)
    tags = [each.tag for each in images]
    if not images:
        message = f"ModelArts lists no image {organisation.rpartition('/')[2]}/{name}"
        fix = "look in SWR whether it is there, and whether ModelArts may pull it; register it to be sure"
        yield Finding("MA061", "warning", message, "modelarts.image", fix, "platform")
    elif tag not in tags:
        fix = _instead(tag, tags)
        yield Finding(
            "MA061", "warning", f"ModelArts lists no tag {tag} of {path}", "modelarts.image", fix, "platform"
        )
    else:
        found = images[tags.index(tag)]
        if found.status and found.status != "ACTIVE":
            fix = "save or push it again"
            yield Finding(
                "MA061",
                "error",
                f"the image {path}:{tag} is {found.status}",
                "modelarts.image",
                fix,
                "platform",
            )


def _instead(wrong: str, choices: Sequence[str]) -> str:
    """What there is in place of a name that is wrong: the nearest names."""
    near = difflib.get_close_matches(wrong, choices, n=3, cutoff=0.3) or sorted(choices)[:3]
    if not near:
        return f"look in the {_CONSOLE}"
    more = len(choices) - len(near)
    return f"there are {', '.join(near)}" + (f" and {more} more" if more else "")


_QUESTIONS: Mapping[str, Callable[[Plan, Offer], Iterator[Finding]]] = {
    "authorisation": _authorisation,
    "quota": _quota,
    "pool": _pool,
    "free machines": _free,
    "kinds of machine": _flavor,
    "engines": _engine,
    "images": _image,
}
