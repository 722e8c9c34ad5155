"""Licences: the words that sources use for them, as SPDX identifiers, and what each of them allows.

What is not recognised is `UNKNOWN`, and unknown allows nothing. Creative Commons licences are read word by word, so that
"CC BY, logos excepted" is not taken for CC BY.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product


@dataclass(frozen=True)
class Licence:
    """A licence and what it allows."""

    identifier: str
    """SPDX identifier; without a version ("CC-BY") where the source does not say which; "unknown"."""
    short: str
    """Lower case, without version: by, by-nc-sa, cc0, mit, unknown."""
    commercial: bool
    """Whether commercial use is allowed."""
    derivatives: bool
    """Whether changed versions may be passed on."""
    attribution: bool
    """Whether the author must be named, or the licence's notice kept."""
    deed: str
    """Address of the licence's text; empty when there is none."""

    def is_among(self, names: Iterable[str]) -> bool:
        """Whether one of the names is this licence's short form ("by", any version) or identifier ("CC-BY-4.0")."""
        own = {self.short, f"cc-{self.short}", self.identifier.lower()}
        return any(name.lower() in own for name in names)


UNKNOWN = Licence("unknown", "unknown", commercial=False, derivatives=False, attribution=True, deed="")
_RESERVED = Licence("LicenseRef-All-Rights-Reserved", "all-rights-reserved", False, False, True, "")
_PUBLIC_DOMAIN = Licence("public-domain", "public-domain", True, True, False, "")
_CC0 = Licence("CC0-1.0", "cc0", True, True, False, "https://creativecommons.org/publicdomain/zero/1.0/")
_MARK = Licence("CC-PDM-1.0", "pdm", True, True, False, "https://creativecommons.org/publicdomain/mark/1.0/")
_ALL_CREATIVE_COMMONS = "https://creativecommons.org/share-your-work/cclicenses/"


def _software(identifier: str, short: str, *, attribution: bool = True) -> Licence:
    return Licence(identifier, short, True, True, attribution, f"https://spdx.org/licenses/{identifier}.html")


def _gnu() -> dict[str, Licence]:
    """The GNU licences as their identifiers, GitHub and Thingiverse write them."""
    found: dict[str, Licence] = {}
    for short, name, versions in (
        ("gpl", "general public", ("2.0", "3.0")),
        ("lgpl", "lesser general public", ("2.1", "3.0")),
        ("agpl", "affero general public", ("3.0",)),
    ):
        found |= dict.fromkeys((short, f"gnu {short}"), Licence(short.upper(), short, True, True, True, ""))
        for version, suffix in product(versions, ("", "-only", "-or-later")):
            ending = f" {version}{suffix.replace('-', ' ')}"
            names = [stem + ending for stem in (short, f"gnu {short}", f"gnu {name}")]
            found |= dict.fromkeys(names, _software(f"{short.upper()}-{version}{suffix}", short))
    return found


# Keys are as `_plain` leaves them: the identifier, the name that GitHub gives, the name that Thingiverse gives.
_NAMED: dict[str, Licence] = {
    "licenseref all rights reserved": _RESERVED,
    "all rights reserved": _RESERVED,
    "public domain": _PUBLIC_DOMAIN,
    "cc0 public domain": _CC0,
    "cc public domain dedication": _CC0,
    "cc pdm 1.0": _MARK,
    "cc mark 1.0": _MARK,
    "public domain mark": _MARK,
    "public domain mark 1.0": _MARK,
    "mit": _software("MIT", "mit"),
    **dict.fromkeys(("mit 0", "mit no by"), _software("MIT-0", "mit-0", attribution=False)),
    **dict.fromkeys(("apache 2.0", "apache 2"), _software("Apache-2.0", "apache")),
    "bsd": Licence("BSD", "bsd", True, True, True, ""),
    **dict.fromkeys(("bsd 2 clause", "bsd 2 clause simplified"), _software("BSD-2-Clause", "bsd-2-clause")),
    **dict.fromkeys(("bsd 3 clause", "bsd 3 clause new or revised"), _software("BSD-3-Clause", "bsd-3-clause")),
    **dict.fromkeys(("0bsd", "bsd 0 clause"), _software("0BSD", "0bsd", attribution=False)),
    "isc": _software("ISC", "isc"),
    "zlib": _software("Zlib", "zlib"),
    **dict.fromkeys(("bsl 1.0", "boost software 1.0"), _software("BSL-1.0", "bsl")),
    **dict.fromkeys(("mpl 2.0", "mozilla public 2.0"), _software("MPL-2.0", "mpl")),
    **dict.fromkeys(("epl 2.0", "eclipse public 2.0"), _software("EPL-2.0", "epl")),
    **dict.fromkeys(("eupl 1.2", "european union public 1.2"), _software("EUPL-1.2", "eupl")),
    **dict.fromkeys(("ofl 1.1", "sil open font 1.1"), _software("OFL-1.1", "ofl")),
    "artistic 2.0": _software("Artistic-2.0", "artistic"),
    "unlicense": _software("Unlicense", "unlicense", attribution=False),
    "wtfpl": _software("WTFPL", "wtfpl", attribution=False),
    "do what f ck you want to public": _software("WTFPL", "wtfpl", attribution=False),
    **_gnu(),
}

_ADDRESS = re.compile(
    r"https?://(?:www\.)?creativecommons\.org/(?:licenses|publicdomain)/(.*?)(?:/(?:deed|legalcode).*)?"
)
# In this order: what they leave is words of `_ELEMENTS`, versions, and words that say nothing.
_PHRASES = (
    (re.compile(r"creative commons"), "cc"),
    (re.compile(r"\bno ?deriv(ative)?s?\b( works)?"), "nd"),
    (re.compile(r"\bnon ?commercial\b"), "nc"),
    (re.compile(r"\bshare ?alike\b"), "sa"),
    (re.compile(r"\battribution\b"), "by"),
    (re.compile(r"\bzero\b"), "0"),
    (re.compile(r"\bcc 0\b"), "cc0"),
)
_SAYS_NOTHING = {"the", "license", "licence", "version", "international", "unported", "generic", "universal"}
_ELEMENTS = ("by", "nc", "sa", "nd")
_VERSION = re.compile(r"[1-4]\.\d")
# Sketchfab's and Objaverse's words, which leave out the version: theirs are all 4.0.
_SKETCHFAB = re.compile(r"by(-nc)?(-sa|-nd)?|CC Attribution\b.*")


@lru_cache(maxsize=4096)
def licence_of(words: str) -> Licence:
    """The licence that a source means: an SPDX identifier, a name, a deed's address, or Sketchfab's short word.

    Sketchfab's words ("by-nc", "CC Attribution") mean version 4.0. Where others leave the version out, so does the
    identifier ("CC-BY"): Thingiverse, for one, has objects under 3.0 and under 4.0.
    """
    plain = _plain(words)
    if plain in _NAMED:
        return _NAMED[plain]
    versions = [word for word in plain.split() if _VERSION.fullmatch(word)]
    elements = [word for word in plain.split() if word not in {"cc", *versions}]
    if elements == ["cc0"]:
        return _CC0
    if not versions and _SKETCHFAB.fullmatch(words.strip()):
        versions = ["4.0"]
    return _creative_commons(elements, versions)


def _plain(words: str) -> str:
    """Lower case, single spaces, the elements of Creative Commons as their letters, nothing that says nothing."""
    lower = words.strip().lower()
    address = _ADDRESS.fullmatch(lower)
    text = re.sub(r"[^a-z0-9.]+", " ", f"cc {address[1]}" if address else lower)
    text = re.sub(r"\bv(?=\d)|(?<!\d)\.|\.(?!\d)", "", text)
    for pattern, letters in _PHRASES:
        text = pattern.sub(letters, text)
    return " ".join(word for word in text.split() if word not in _SAYS_NOTHING)


def _creative_commons(elements: list[str], versions: list[str]) -> Licence:
    """The Creative Commons licence of these elements; `UNKNOWN` when there is no such."""
    found = set(elements)
    valid = "by" in found and found <= set(_ELEMENTS) and len(found) == len(elements) and not {"sa", "nd"} <= found
    if not valid or len(versions) > 1:
        return UNKNOWN
    short = "-".join(element for element in _ELEMENTS if element in found)
    version = versions[0] if versions else ""
    return Licence(
        identifier=f"CC-{short.upper()}" + (f"-{version}" if version else ""),
        short=short,
        commercial="nc" not in found,
        derivatives="nd" not in found,
        attribution=True,
        deed=f"https://creativecommons.org/licenses/{short}/{version}/" if version else _ALL_CREATIVE_COMMONS,
    )
