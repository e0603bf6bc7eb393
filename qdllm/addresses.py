"""Addresses as they may be told: a user, a password and a query in one are nobody else's business.

A password may hold whatever a person has typed, slashes, spaces and question marks among it, and so
may what another program says about such an address.
"""

import re
from urllib.parse import quote, unquote

_PLACE = re.compile(r"[A-Za-z][\w+.-]*://(\[[\da-fA-F:.]+\]|[^\s/:@\[\]]*)(:\d{0,5})?(/.*)?", re.S)
# A user, then a colon that no port follows, then anything up to an @; or an @ without a space. On
# the Hugging Face hub, an @ goes before a revision.
_USER = re.compile(
    r"(?<!\bhf)://(?:[^\s/@:?#\[]*:(?!\d{1,5}(?:[^\w%@]|$))[^\n@'\"]*@)?(?:[^\s'\"@?#]*@)*"
)
_QUERY = re.compile(r"(://[^\s'\"?#]*)[?#][^\s'\"]*")
_SHORT = 2
"""Characters of what is too short to be a secret, and would be found in any text."""


def bare(address: str) -> str:
    """Scheme, host and path of an address, and less where it cannot be told what is which.

    What has no scheme is given back, without what stands before an @.
    """
    scheme, sign, rest = address.partition("://")
    if not sign:
        _, at, place = address.rpartition("@")
        return f"…@{place}" if at else address
    place, query = _cut(rest)
    found = f"{scheme}://{place.rpartition('@')[2]}"
    return found if "@" not in query and _PLACE.fullmatch(found) else f"{scheme[-20:]}://…"


def without_secrets(text: str, *addresses: str) -> str:
    """A text without users, passwords and queries of these addresses, and of any other in it."""
    for address in addresses:
        text = text.replace(address, bare(address))
        for secret in sorted(_secrets(address), key=len, reverse=True):
            text = text.replace(secret, "…")
    return _QUERY.sub(r"\1", _USER.sub("://", text))


def _cut(rest: str) -> tuple[str, str]:
    """What stands before the query, and the query."""
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    return place, rest[len(place) :]


def _secrets(address: str) -> set[str]:
    """All that `bare` leaves out of an address, in every spelling in which others may repeat it."""
    rest = address.partition("://")[2] or address
    place, query = _cut(rest)
    # As databases' clients read it, and as a password with an @ in it is meant.
    asked = re.match(r"([^:/]*)(?::([^@]*))?@", rest)
    meant = re.match(r"([^:]*)(?::(.*))?@", place, re.S)
    found = {part for each in (asked, meant) if each for part in each.groups() if part}
    found |= {query[1:], *re.split("[?#&=]", query)}
    spelled = {way(part) for part in found for way in (str, unquote, quote, _quoted)}
    return {part for part in spelled if len(part) > _SHORT}


def _quoted(text: str) -> str:
    return quote(text, safe="")
