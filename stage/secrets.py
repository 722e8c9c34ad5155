"""What may be said of addresses and texts that hold secrets, and what of them may not stand in a file of parameters.

Secrets come from the environment alone. They leave it in what libraries say: an address with a password, a signed query, a
header. Whatever is said, logged or written of such a text goes through `redacted`; of an address that is known as one,
through `shown`.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

HIDDEN = "***"
"""What stands in a secret's place."""

# Names of variables whose values are secrets: MLFLOW_TRACKING_PASSWORD, AWS_SECRET_ACCESS_KEY, HF_TOKEN and the like.
_VARIABLE = re.compile(
    r"(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|API_KEY|(SECRET|ACCESS|STORAGE|PRIVATE|ENCRYPTION)_KEY|AUTH_STRING)$"
)
# A shorter value is more likely to be a word of an ordinary sentence than a secret.
_LEAST = 8
# Of a bounded scheme: without one each letter of a long word would be looked at as the beginning of an address to its end.
_ADDRESS = re.compile(r"""[a-z][a-z0-9+.-]{0,30}://[^\s'"<>]+""", re.IGNORECASE)
# As far as the last @ before a slash: a password in which ? or # is not encoded has its end there too.
_USER = re.compile(r"(?<=://)[^/\s]*@")
# Parts of signed queries and their like, also where a library says the path without the server.
_SIGNED = re.compile(
    r"\b(X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)|signature|sig|(?:access_|id_|refresh_)?token"
    r"|api[_-]?key|password|passwd|secret)=([^&\s'\"<>]+)",
    re.IGNORECASE,
)
_HEADER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_KEY = re.compile(
    r"(^|_)(password|passwd|secret|token|api_?key|(secret|access|storage|private)_key)s?$", re.IGNORECASE
)
# As their issuers form them: Hugging Face, GitHub, GitLab, AWS, Slack, and private keys.
_FORMED = re.compile(
    r"\b(hf_[A-Za-z0-9]{20,}|gh[opsu]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|AKIA[A-Z0-9]{16}|xox[abp]-[\w-]{10,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_REFERENCE = re.compile(r"\$\{(\w+)\}")


def shown(url: str) -> str:
    """A URL without what may be secret in it: user, password, query and fragment."""
    try:
        parts = urlsplit(_USER.sub("", url, count=1))
        return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    except ValueError:
        return "a malformed URL"


def redacted(text: str) -> str:
    """A text without secrets.

    Gone are what addresses hold of users, passwords and queries, signatures and tokens in what looks like a part of a query,
    authorisation headers, and the values of this process's secret variables.
    """
    text = _ADDRESS.sub(lambda found: _without_query(found[0]), text)
    text = _SIGNED.sub(rf"\1={HIDDEN}", _HEADER.sub(rf"\1 {HIDDEN}", text))
    for value in _known(os.environ):
        text = text.replace(value, HIDDEN)
    return text


def _without_query(address: str) -> str:
    """An address without user and query; the fragment stays, in which pages of MLflow and Prefect have their paths.

    One that is completed by variables says no more than their names.
    """
    if _REFERENCE.search(address) and not _opens(_REFERENCE.sub("", address)):
        return address
    place, mark, fragment = _USER.sub("", address).partition("#")
    return place.partition("?")[0] + mark + fragment.partition("?")[0]


def _known(environment: Mapping[str, str]) -> list[str]:
    """The secrets of an environment, longest first, as one may hold another."""
    named = [value.strip() for name, value in environment.items() if _VARIABLE.search(name)]
    # Of `name:password`, as Prefect's, the password by itself too.
    named += [value.partition(":")[2] for name, value in environment.items() if name.endswith("AUTH_STRING")]
    found = {
        value for value in (*named, *_passwords(environment.values())) if len(_REFERENCE.sub("", value)) >= _LEAST
    }
    return sorted(found, key=lambda value: (-len(value), value))


def _passwords(values: Any) -> Iterator[str]:  # noqa: ANN401 - an environment's view of its values
    """Passwords of the addresses among some values, as they stand there and decoded."""
    for value in values:
        if "://" in value and "@" in value:
            user = value.partition("://")[2].partition("/")[0].rpartition("@")[0]
            password = user.partition(":")[2]
            yield from (password, unquote(password))


def secret_in(values: Any) -> tuple[str, str] | None:  # noqa: ANN401 - any YAML value
    """Where among parameters something looks like a secret, by its dotted name, and what it is; None where nothing does.

    A reference such as `${SHARDS_PASSWORD}` is none.

    Args:
        values: what a YAML file holds, also one that names a part of it in many places or in itself.
    """
    waiting, met = [("", values)], set[int]()
    while waiting:
        place, holder = waiting.pop()
        if id(holder) in met or not isinstance(holder, dict | list):
            continue
        met.add(id(holder))
        for key, value in holder.items() if isinstance(holder, dict) else enumerate(holder):
            name = f"{place}.{key}".lstrip(".")
            if isinstance(value, str) and (kind := _kind(str(key), _REFERENCE.sub("", value))):
                return name, kind
            waiting.append((name, value))
    return None


def _kind(key: str, value: str) -> str | None:
    """What kind of secret a text is, if one."""
    if _FORMED.search(value):
        return "a key or token"
    if any(_opens(address) for address in _ADDRESS.findall(value)):
        return "an address with a password or signature"
    return "a secret" if _KEY.search(key) and value.strip() else None


def _opens(address: str) -> bool:
    """Whether an address lets in whoever has it; a user's name alone does so over HTTP, where it is a token."""
    user = _USER.search(address)
    name, mark, password = user[0][:-1].partition(":") if user else ("", "", "")
    token = name and not mark and address.lower().startswith("http")
    return bool(password or token or _SIGNED.search(address))


def filled(address: str, environment: Mapping[str, str]) -> str:
    """An address with an environment's values in place of references such as `${SHARDS_PASSWORD}`.

    Raises:
        KeyError: naming the variable that is not set.
    """
    return _REFERENCE.sub(lambda found: environment[found[1]], address)
