"""Files of GitHub: from Objaverse-XL's identifiers to addresses, and pointers of Git LFS."""

import pytest
from publishers import COMMIT, page, pointer, sha256

from catalog.github import is_pointer_to, large_file_url, repository_file


@pytest.mark.parametrize(
    ("path", "quoted"),
    [("a.glb", "a.glb"), ("a b/ü#?.glb", "a%20b/%C3%BC%23%3F.glb"), ("100%/x.glb", "100%25/x.glb")],
)
def test_a_file_has_an_address_and_a_page(path: str, quoted: str) -> None:
    place = repository_file(page(path))
    assert place
    assert place.url == f"https://raw.githubusercontent.com/owner/repo/{COMMIT}/{quoted}"
    assert place.page == f"https://github.com/owner/repo/blob/{COMMIT}/{quoted}"
    assert large_file_url(place.url) == f"https://media.githubusercontent.com/media/owner/repo/{COMMIT}/{quoted}"


@pytest.mark.parametrize(
    "identifier",
    [
        "",
        "https://github.com/owner/repo",
        page("x.glb", commit="main"),
        page(""),
        page("x\n.glb"),
        page("x.glb").replace("github.com", "github.com.example"),
        page("x.glb").replace("owner", "ow?ner"),
        page("x.glb").replace("https", "http"),
    ],
)
def test_anything_else_is_no_file_of_a_repository(identifier: str) -> None:
    assert repository_file(identifier) is None


def test_a_pointer_names_its_content() -> None:
    assert is_pointer_to(pointer(b"content"), sha256(b"content").upper())
    assert is_pointer_to(pointer(b"content"), None)
    assert not is_pointer_to(pointer(b"content"), sha256(b"other"))
    assert not is_pointer_to(b"content", None)
    assert not is_pointer_to(pointer(b"content") + b"x" * 2000, None)
    assert large_file_url("https://example.com/x.glb") is None
