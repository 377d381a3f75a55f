"""What a snapshot holds: files that are copied, and links to what is not copied on machines that see this disk."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from launcher.snapshot.ignore import Ignore
from launcher.snapshot.listing import Found, Lister, Listing
from launcher.units import show_bytes

MOST_BYTES = 100 << 20
MOST_FILES = 10_000
MOST_LINKS = 2_000
"""Above it whole folders are linked."""
_SECRET = re.compile(
    r"\.env(?!\.(example|sample|template|dist)$)(\..*)?|.*\.(pem|key|p12|pfx|jks|keystore|kdbx)"
    r"|id_(rsa|dsa|ecdsa|ed25519)|\.(netrc|pgpass|pypirc|npmrc|git-credentials|obsutilconfig|s3cfg|boto|htpasswd)"
    r"|\.(aws|ssh|gnupg|kube|docker|azure)|credentials(\.(json|csv|ya?ml|ini))?|kubeconfig|service[-_]account.*\.json"
    r"|.*secrets?\.(json|ya?ml|toml|ini|env)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Source:
    """What to take. Names are relative to `folder`.

    `named`: what the words of the program name, taken even where git ignores it. `data`: what is staged anyway.
    `extra`: files from elsewhere, by their name in the snapshot. `can_link`: the run is on this machine.
    """

    folder: Path
    named: tuple[str, ...] = ()
    data: str = ""
    extra: tuple[tuple[str, Path], ...] = ()
    extra_links: tuple[tuple[str, str], ...] = ()
    excluded: tuple[Path, ...] = ()
    can_link: bool = False
    shares_files: bool = False


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """What should be in the snapshot and can't be."""

    name: str
    why: str


@dataclass(slots=True)
class Selection:
    """The answer. `links` are names and what they point to; `secrets` are names of files that are never copied.

    `linked` says why some of the links are no copies: too large, or too many.
    """

    folder: Path
    files: dict[str, Found] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    left_behind: list[LeftBehind] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    linked: list[LeftBehind] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(each.size for each in self.files.values())

    @property
    def identity(self) -> str:
        """The same for two selections that give the same archive, as long as no file changes."""
        return repr((self.folder, sorted(self.files.items()), sorted(self.links.items())))

    def has(self, name: str) -> bool:
        """Whether a file or folder of this name is in the working folder."""
        if name in self.files or name in self.links:
            return True
        above = name
        while above := above.rpartition("/")[0]:
            if above in self.links:
                return True
        return any(each.startswith(f"{name}/") for each in (*self.files, *self.links))


def select(source: Source) -> Selection:
    """Reads names, sizes and times of the folder; changes nothing."""
    return _Selecting(source).run()


def is_secret(name: str) -> bool:
    """Whether a file, or a folder that it lies in, has a name under which secrets are kept."""
    return any(_SECRET.fullmatch(part) for part in name.split("/"))


class _Selecting:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._ignore = Ignore.of(source.folder)
        self._chosen = Selection(source.folder)

    def run(self) -> Selection:
        chosen, source = self._chosen, self._source
        lister = Lister(source.folder, source.excluded)
        self._take(lister.all_files())
        for name in source.named:
            self._take_named(lister, name)
        self._without_data()
        for name, path in source.extra:
            status = path.stat()
            chosen.files[name] = Found(
                name, path, status.st_size, int(status.st_mtime), status.st_mode & 0o777
            )
        chosen.links.update(source.extra_links)
        self._settle_links()
        self._limit_bytes()
        self._limit_count()
        return chosen

    def _take(self, listing: Listing) -> None:
        for name, found in listing.files.items():
            if self._ignore.ignores(name):
                continue
            if is_secret(name):
                self._chosen.secrets.append(name)
                if self._source.can_link:
                    self._chosen.links[name] = str(found.path)
            elif not found.target and not os.access(found.path, os.R_OK):
                self._leave(name, "can't be read")
            else:
                self._chosen.files[name] = found
        for folder in listing.unreadable:
            if not self._ignore.skips(folder):
                self._leave(folder, "can't be read")
        for folder in listing.unseen:
            if not self._ignore.skips(folder):
                self._leave(folder, "has too many files")

    def _take_named(self, lister: Lister, name: str) -> None:
        """What .launcherignore leaves out is at most linked."""
        path = self._source.folder / name
        if lister.skips(name if path.is_dir() else name.rpartition("/")[0]) or self._chosen.has(name):
            return
        if self._ignore.skips(name) or self._ignore.ignores(name):
            if self._source.can_link:
                self._chosen.links[name] = str(path)
        elif path.is_dir() and not path.is_symlink():
            self._take(lister.below(name))
        else:
            self._take(lister.single(name))

    def _without_data(self) -> None:
        """The data of the job are staged by themselves; on this machine they also stay where the script may look for them."""
        data, chosen = self._source.data, self._chosen
        if not data:
            return
        for name in [each for each in chosen.files if each == data or each.startswith(f"{data}/")]:
            del chosen.files[name]
        if self._source.can_link and (self._source.folder / data).exists():
            self._link(data)

    def _settle_links(self) -> None:
        """A link inside of the snapshot stays as it is; one that leads outside points there, or is followed to a file."""
        chosen, root = self._chosen, self._source.folder.resolve()
        for name, found in [(name, each) for name, each in chosen.files.items() if each.target]:
            target = Path(os.path.realpath(found.path))  # which a loop of links does not stop
            inside = os.path.relpath(target, root) if target.is_relative_to(root) else ""
            if inside and inside != "." and chosen.has(inside):
                text = os.path.relpath(root / inside, root / Path(name).parent)
                chosen.files[name] = replace(found, target=text, size=0)
            elif self._source.shares_files or not target.exists():
                chosen.files[name] = replace(found, target=str(target), size=0)
            elif target.is_file():
                status = target.stat()
                chosen.files[name] = Found(
                    name, target, status.st_size, int(status.st_mtime), status.st_mode & 0o777
                )
            else:
                del chosen.files[name]
                self._leave(name, f"leads to {target}, which other machines don't have")

    def _limit_bytes(self) -> None:
        total = self._chosen.bytes
        for found in sorted(self._chosen.files.values(), key=lambda each: -each.size):
            if total <= MOST_BYTES:
                return
            del self._chosen.files[found.name]
            total -= found.size
            self._leave(found.name, show_bytes(found.size))

    def _limit_count(self) -> None:
        chosen = self._chosen
        while (excess := len(chosen.files) - MOST_FILES) > 0 and (folder := _fullest(chosen.files, excess)):
            count = sum(name.startswith(f"{folder}/") for name in chosen.files)
            self._forget_below(folder)
            self._leave(folder, f"{count} files")
        while (excess := len(chosen.links) - MOST_LINKS) > 0 and (folder := _fullest(chosen.links, excess)):
            self._link(folder)
        for name in list(chosen.files)[MOST_FILES:]:
            del chosen.files[name]
            self._leave(name, "is one file too many")

    def _leave(self, name: str, why: str) -> None:
        if self._source.can_link and name:
            self._link(name)
            self._chosen.linked.append(LeftBehind(name, why))
        else:
            self._chosen.left_behind.append(LeftBehind(name or ".", why))

    def _link(self, name: str) -> None:
        self._forget_below(name)
        self._chosen.links[name] = str(self._source.folder / name)

    def _forget_below(self, folder: str) -> None:
        for table in (self._chosen.files, self._chosen.links):
            for name in [each for each in table if each.startswith(f"{folder}/")]:
                del table[name]


def _fullest(names: Mapping[str, object], excess: int) -> str:
    """The deepest folder that holds so many of these files, else the fullest one; '' where none lies in a folder."""
    counts: Counter[str] = Counter()
    for name in names:
        above = name
        while above := above.rpartition("/")[0]:
            counts[above] += 1
    enough = [folder for folder, count in counts.items() if count >= excess]
    if enough:
        return max(enough, key=lambda folder: (folder.count("/"), counts[folder], folder))
    return max(counts, key=lambda folder: (counts[folder], folder), default="")


def largest(left: Iterable[LeftBehind], folder: Path) -> list[str]:
    """What is left behind as words for people: by the topmost folder, the largest first."""
    sizes: Counter[str] = Counter()
    reasons: dict[str, list[str]] = {}
    for each in left:
        top = each.name.partition("/")[0] + ("/" if "/" in each.name or (folder / each.name).is_dir() else "")
        path = folder / each.name
        sizes[top] += path.stat().st_size if path.is_file() else 1
        reasons.setdefault(top, []).append(f"{each.name}: {each.why}" if top.endswith("/") else each.why)
    return [
        f"{top} ({reasons[top][0]}" + (f" and {len(reasons[top]) - 1} more)" if reasons[top][1:] else ")")
        for top, _ in sizes.most_common()
    ]
