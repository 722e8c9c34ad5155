"""The members of one object, found in its piece of a tar without copying any.

Each training sample is a walk over the headers of all views of an object to get at two of them; `tarfile` takes as long for that as
for decoding a small picture. Plain headers, which is what shards have, are read here; anything else (long names, links, sizes over
8 GiB) is left to `tarfile`. Checksums of headers are not looked at: the index has the hash of all these bytes.
"""

import io
import tarfile

_BLOCK = tarfile.BLOCKSIZE


def tar_members(data: bytes) -> dict[str, memoryview]:
    """Members of an object's piece of a tar by their extension, the part of the name after the key.

    Raises:
        tarfile.TarError: when it is not a tar.
    """
    members: dict[str, memoryview] = {}
    position = 0
    while position < len(data) and data[position]:
        start = position + _BLOCK
        header = data[position:start]
        if len(header) == _BLOCK and not _plain(header):
            return _by_tarfile(data)
        size = int(header[124:136].rstrip(b" \0") or b"0", 8)
        if start + size > len(data):
            raise tarfile.ReadError("unexpected end of data")
        members[_extension(header[:100].rstrip(b"\0").decode())] = memoryview(data)[start : start + size]
        position = start + -(-size // _BLOCK) * _BLOCK
    return members


def _plain(header: bytes) -> bool:
    """Whether a header is one of a regular file whose name and size stand where they always do."""
    return header[156:157] in (b"0", b"\0") and header[124] < 0x80


def _extension(name: str) -> str:
    """What follows the first dot of a name; as for webdataset, dots of folders do not count."""
    return name.rpartition("/")[2].partition(".")[2]


def _by_tarfile(data: bytes) -> dict[str, memoryview]:
    members = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream:
                members[_extension(member.name)] = memoryview(stream.read())
    return members
