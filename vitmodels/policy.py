"""The RandAugment string, such as `rand-m9-mstd0.5-inc1`, as a value. Pure: no imaging library.

The syntax is timm's: `rand`, then sections of letters and a number joined by `-`.

    m     magnitude, 0..10                                  (10)
    n     operations per image                              (2)
    mstd  deviation of the magnitude; above 100: uniform    (0)
    mmax  upper limit of a drawn magnitude                  (10)
    inc   1: the strength of every operation rises with m   (0)
    p     probability of each operation                     (0.5)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vitmodels.errors import RecipeError

_SECTION = re.compile(r"^(mstd|mmax|inc|m|n|p)([0-9]+(?:\.[0-9]+)?)$")


@dataclass(frozen=True)
class Policy:
    """A parsed RandAugment policy; see the module's table."""

    magnitude: float = 10.0
    layers: int = 2
    magnitude_std: float = 0.0
    magnitude_max: float = 10.0
    increasing: bool = False
    probability: float = 0.5

    @property
    def uniform(self) -> bool:
        """Whether the magnitude is drawn uniformly from 0 to `magnitude`."""
        return self.magnitude_std > 100


def parse_policy(text: str) -> Policy:
    """The policy that `text` names. Raises RecipeError."""
    head, *sections = text.strip().split("-")
    if head != "rand":
        raise RecipeError(f"auto_augment {text!r} must start with rand, e.g. rand-m9-mstd0.5-inc1")
    settings: dict[str, float] = {}
    for section in sections:
        match = _SECTION.match(section)
        if match is None:
            raise RecipeError(
                f"auto_augment {text!r}: can't read {section!r}; sections are m n mstd mmax inc p and a number"
            )
        if match[1] in settings:
            raise RecipeError(f"auto_augment {text!r}: {match[1]} appears twice")
        settings[match[1]] = float(match[2])
    policy = Policy(
        magnitude=settings.get("m", 10.0),
        layers=int(settings.get("n", 2)),
        magnitude_std=settings.get("mstd", 0.0),
        magnitude_max=settings.get("mmax", 10.0),
        increasing=bool(settings.get("inc", 0)),
        probability=settings.get("p", 0.5),
    )
    if policy.magnitude > 10 or policy.magnitude_max > 10 or policy.probability > 1 or policy.layers < 1:
        raise RecipeError(f"auto_augment {text!r}: m and mmax go up to 10, p up to 1, n from 1")
    return policy
