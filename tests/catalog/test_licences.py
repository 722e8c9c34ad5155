"""Licences: what sources write, as identifiers, and what each allows; what is not recognised allows nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.licences import UNKNOWN, licence_of

# As the sources write them: Sketchfab's API and Objaverse 1.0, Objaverse-XL's GitHub and Thingiverse rows, Fuel, SPDX.
WORDS = {
    "by": "CC-BY-4.0",
    "by-sa": "CC-BY-SA-4.0",
    "by-nd": "CC-BY-ND-4.0",
    "by-nc": "CC-BY-NC-4.0",
    "by-nc-sa": "CC-BY-NC-SA-4.0",
    "by-nc-nd": "CC-BY-NC-ND-4.0",
    "cc0": "CC0-1.0",
    "CC Attribution": "CC-BY-4.0",
    "CC Attribution-NonCommercial-ShareAlike": "CC-BY-NC-SA-4.0",
    "CC0 Public Domain": "CC0-1.0",
    "Creative Commons - Attribution": "CC-BY",
    "Creative Commons - Attribution - Non-Commercial - Share Alike": "CC-BY-NC-SA",
    "Creative Commons - Public Domain Dedication": "CC0-1.0",
    "Creative Commons Attribution 4.0 International": "CC-BY-4.0",
    "Creative Commons Zero v1.0 Universal": "CC0-1.0",
    "https://creativecommons.org/licenses/by/4.0/": "CC-BY-4.0",
    "http://creativecommons.org/licenses/by-nc-sa/3.0/deed.de": "CC-BY-NC-SA-3.0",
    "https://creativecommons.org/publicdomain/zero/1.0/": "CC0-1.0",
    "https://creativecommons.org/publicdomain/mark/1.0/": "CC-PDM-1.0",
    "CC-BY-4.0": "CC-BY-4.0",
    "cc by-sa 3.0": "CC-BY-SA-3.0",
    "MIT": "MIT",
    "MIT License": "MIT",
    "Apache License 2.0": "Apache-2.0",
    'BSD 3-Clause "New" or "Revised" License': "BSD-3-Clause",
    "GNU General Public License v3.0": "GPL-3.0",
    "GPL-3.0-or-later": "GPL-3.0-or-later",
    "GNU - LGPL": "LGPL",
    "The Unlicense": "Unlicense",
    "Public Domain": "public-domain",
    "All Rights Reserved": "LicenseRef-All-Rights-Reserved",
}


@pytest.mark.parametrize(("words", "identifier"), WORDS.items())
def test_the_words_of_the_sources_are_recognised(words: str, identifier: str) -> None:
    assert licence_of(words).identifier == identifier


@pytest.mark.parametrize(
    "words",
    [
        "",
        "unknown",
        "Other",
        "NOASSERTION",
        "free for personal use",
        "CC BY, logos excepted",
        "by-xy",
        "not CC0",
        "sa",
        "CC-BY-ND-SA-4.0",
        "CC-BY-3.0 or CC-BY-4.0",
        "standard",
        "https://example.org/licenses/by/4.0/",
    ],
)
def test_what_is_not_recognised_allows_nothing(words: str) -> None:
    licence = licence_of(words)
    assert licence == UNKNOWN
    assert not licence.commercial
    assert not licence.derivatives
    assert licence.attribution


@pytest.mark.parametrize("words", WORDS)
def test_an_identifier_means_itself(words: str) -> None:
    licence = licence_of(words)
    assert licence_of(licence.identifier) == licence


@pytest.mark.parametrize("short", ["by", "by-sa", "by-nd", "by-nc", "by-nc-sa", "by-nc-nd"])
def test_the_elements_decide_what_is_allowed(short: str) -> None:
    for words in (short, f"CC-{short.upper()}-3.0", f"https://creativecommons.org/licenses/{short}/2.0/"):
        licence = licence_of(words)
        assert licence.short == short
        assert licence.commercial == ("nc" not in short)
        assert licence.derivatives == ("nd" not in short)
        assert licence.attribution
        assert licence.deed.startswith(f"https://creativecommons.org/licenses/{short}/")


def test_dedications_ask_for_nothing() -> None:
    for words in ("cc0", "CC-PDM-1.0", "public domain", "Unlicense", "0BSD"):
        licence = licence_of(words)
        assert (licence.commercial, licence.derivatives, licence.attribution) == (True, True, False)


def test_a_short_name_means_any_version_and_an_identifier_one() -> None:
    assert licence_of("CC-BY-3.0").is_among(["cc0", "BY"])
    assert licence_of("CC-BY-3.0").is_among(["cc-by"])
    assert not licence_of("CC-BY-3.0").is_among(["CC-BY-4.0"])
    assert not licence_of("CC-BY-NC-4.0").is_among(["by"])
    assert licence_of("anything").is_among(["unknown"])


@given(st.text(max_size=40))
def test_any_text_is_a_licence_or_unknown(words: str) -> None:
    licence = licence_of(words)
    assert licence.identifier
    assert licence_of(words.upper()).short == licence_of(words.lower()).short
