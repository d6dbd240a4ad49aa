"""What a foreign repository may have us open: the rule for places that it names. Pure.

A metafile, or a storage's URL, in a registry that is not on this machine was
written by somebody else. It must not lead to this machine's own files, to
hosts that only this machine reaches, or to transports that run commands or
can be listened in on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from git_datareg.location import Location, user_and_host

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

#: Encrypted and to be checked, or a cloud's own; any other is refused.
_SCHEMES = frozenset(("https", "ssh", "sftp", "s3", "gs", "gcs", "az", "abfs", "abfss"))
#: Of these the URL names a host; of the others a bucket.
_WITH_HOST = frozenset(("https", "ssh", "sftp"))
_NETWORK = frozenset(("http", "https", "ssh"))
_LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_")
_MAX_PARTS = 4


def objection(
    location: Location, *, allow_private: bool = False, beside: Location | None = None
) -> str | None:
    """Why a foreign repository may not name this place; None when it may.

    The reason is words for a message behind "may not name". A relative location is to
    be resolved before. `allow_private` is the user's `datareg.allowPrivate`: it
    lets private and loopback addresses pass, by http too, and nothing else. Only literal
    addresses are seen: no name is looked up. What is reached as that foreign
    repository itself (`beside`: same scheme and host) is no other place than the
    user has named.
    """
    scheme = location.scheme
    if beside is not None and is_beside(location, beside):
        return None
    if scheme == "file":
        return "a place on this machine"
    user, host = user_and_host(location.url)
    # Within one's own network few servers have certificates.
    if scheme == "http" and allow_private and _is_host(host) and is_private(host):
        return None
    if scheme not in _SCHEMES:
        return f"a URL with {scheme}:"
    if scheme not in _WITH_HOST:
        return None
    # Some programs take a backslash for a slash, and so another host.
    if user.startswith("-") or "\\" in user or not _is_host(host):
        return "a host that is none"
    if not allow_private and is_private(host):
        return f"the private address {host}"
    return None


def is_beside(one: Location, other: Location) -> bool:
    """Whether two places are on one host, and are reached by the same scheme."""
    has_host = one.scheme == other.scheme and one.scheme in _NETWORK
    return has_host and user_and_host(one.url)[1] == user_and_host(other.url)[1]


def _is_host(host: str) -> bool:
    """Whether it is a name or an address, spelled so that every program reads the same."""
    if host.startswith("[") and host.endswith("]"):
        return _address6(host[1:-1]) is not None
    return bool(host) and _NAME.issuperset(host) and host[0] not in "-."


def is_private(host: str) -> bool:
    """Whether a URL's host is an address of this machine or its network, or a name for it.

    In lower case, an IPv6 address in brackets. No name is looked up.
    """
    name = host.rstrip(".")
    if name in _LOCAL_NAMES or name.endswith(".localhost"):
        return True
    six = _address6(host[1:-1]) if host.startswith("[") else None
    if six is not None:
        return not six.is_global or six.is_multicast or any(map(_is_private4, _embedded(six)))
    four = _address4(name)
    return four is not None and _is_private4(four)


def _is_private4(address: IPv4Address) -> bool:
    return not address.is_global or address.is_multicast


def _address6(text: str) -> IPv6Address | None:
    from ipaddress import IPv6Address

    try:
        address = IPv6Address(text)
    except ValueError:
        return None
    return address if address.scope_id is None else None


def _embedded(address: IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that an IPv6 one leads to."""
    from ipaddress import IPv4Address, IPv6Network

    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    # RFC 6052; and the addresses that RFC 4291 calls IPv4-compatible.
    if address in IPv6Network("64:ff9b::/96") or address in IPv6Network("::/96"):
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [each for each in found if each is not None]


def _address4(text: str) -> IPv4Address | None:
    """The address that inet_aton(3) reads: one to four numbers, also octal and hexadecimal."""
    from ipaddress import IPv4Address

    parts = text.split(".")
    numbers = [_number(part) for part in parts]
    if len(parts) > _MAX_PARTS or not all(number is not None for number in numbers):
        return None
    *head, last = (number or 0 for number in numbers)
    if any(number > 255 for number in head) or last >= 256 ** (_MAX_PARTS + 1 - len(parts)):
        return None
    value = last
    for place, number in enumerate(head):
        value += number << 8 * (_MAX_PARTS - 1 - place)
    return IPv4Address(value)


def _number(text: str) -> int | None:
    """A number as C spells it, or None."""
    is_octal = len(text) > 1 and text[0] == "0"
    try:
        if text.startswith("0x"):
            return int(text[2:] or "0", 16)
        return int(text, 8 if is_octal else 10) if text.isascii() and text.isdigit() else None
    except ValueError:
        return None
