"""What the catalogue says of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Terms = Literal["open", "non-commercial", "no-redistribution", "on request", "unclear"]
"""What a user may do with a set. From free to closed: "open" (for any use, with citation), "non-commercial",
"no-redistribution" (nor may derived images be given on), "on request" (only after the owner agrees);
"unclear" where no licence is stated or could be read.
"""


@dataclass(frozen=True)
class Category:
    """A class of objects, named as in the COCO file, and the kind of structure it belongs to."""

    name: str
    kind: str


@dataclass(frozen=True)
class Dataset:
    """One public data set: facts only.

    A text that nobody has compared with the raw files or with the owner's page ends in "(to be confirmed)".
    """

    id: str
    """Lower case with underscores: the name of the converter, of the folder built and in `--only`."""
    name: str
    paper: str
    """Authors, year, journal and DOI or arXiv number, in one line."""
    url: str
    """Where the data are asked for or downloaded."""
    licence: str
    terms: Terms
    access: tuple[str, ...]
    """The steps from nothing to a raw folder, each a sentence."""
    application: str
    """The clinical application, a key of `APPLICATIONS`."""
    organs: tuple[str, ...]
    probe: str
    categories: tuple[Category, ...]
    """Category i has the COCO id i + 1."""
    layout: str
    """Where images, masks and tables lie below the raw folder."""
    folders: tuple[str, ...]
    """Names that the raw folder or archive has when downloaded, without endings."""
    cases: str
    """What a case is: a split never divides one."""
    split: str
    """What the source holds out for tests, if anything."""
    images: int | None = None
    """Images with their masks, as the source or the literature counts them; None if not known."""
    tests: int | None = None
    """Those of the images that the source holds out for tests; None if there are none or it is not known."""
    patients: int | None = None
    counts: str = ""
    """Where these numbers come from and what else is counted."""
    keep_negatives: bool = False
    """Whether images without objects stay, flagged `negative`; elsewhere they are dropped."""
    reference: tuple[int, ...] = ()
    """Numbers in the reference list of the UltraSam paper."""
    in_us43d: bool = True
    duplicate_of: str = ""
    """The set of which this is another edition."""
    sector: bool = False
    """Whether masks reach beyond the ultrasound sector, so that `data split` cuts them there."""
    quirks: tuple[str, ...] = ()
    """What a reader of the raw files must know."""
    corrections: tuple[str, ...] = ()
    """Where the converted set differs from the conversion that UltraSam was trained on, each with the
    reason.
    """

    @property
    def category_names(self) -> tuple[str, ...]:
        return tuple(category.name for category in self.categories)
