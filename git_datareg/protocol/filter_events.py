"""What git and its long-running filter say to each other: the events of `protocol.filter`.

Terms are those of gitattributes(5), "Long Running Filter Process".
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple, TypeAlias

from git_datareg.protocol.pktline import Buffer


class NeedData(enum.Enum):
    """The type of `NEED_DATA`."""

    NEED_DATA = "NEED_DATA"


#: What `next_event` gives while the next event has not come in whole.
NEED_DATA: Final = NeedData.NEED_DATA


class Command(enum.StrEnum):
    """What git wants done with a blob."""

    CLEAN = "clean"
    SMUDGE = "smudge"


class _Bare:
    """An event that says all by its type: equal to its like only, and never false."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ClientHello(NamedTuple):
    """Git greets; `versions` are those it speaks, 2 among them."""

    versions: tuple[int, ...]


class ServerHello(_Bare):
    """We greet and choose version 2."""


class Capabilities(NamedTuple):
    """From git: what it can use. From us: what of that we will do."""

    names: tuple[str, ...]


class Request(NamedTuple):
    """Git asks for one blob to be filtered.

    `content` is all of its content if that is short (`filter.MAX_WHOLE`), and it is our turn; else
    it is None, and `Content` follows.

    `pathname` is relative to the top of the work tree, in git's own bytes: it
    may hold line feeds, "=" and what is not UTF-8. `ref`, `treeish` and `blob`
    (full hex ids) come with some smudges, since git 2.27. With `can_delay` we may
    answer `Delayed`; git asks again later, without `can_delay` and content.
    """

    command: Command
    pathname: bytes
    can_delay: bool = False
    ref: bytes | None = None
    treeish: str | None = None
    blob: str | None = None
    content: bytes | None = None


class Content(NamedTuple):
    """A piece of a blob or a file, of any length.

    From git, `data` may be a view of the bytes given to `receive_data`.
    """

    data: Buffer


class EndOfContent(_Bare):
    """The content that followed is complete: now, and not before, we may answer."""


class ListAvailable(_Bare):
    """Git asks which delayed blobs are ready."""


class EndOfInput(_Bare):
    """Git hung up between two requests, as it does when it is done."""


class Answer(NamedTuple):
    """The request is granted, and this is all of our content."""

    data: Buffer


class Success(_Bare):
    """The request is granted; our content follows."""


class Done(NamedTuple):
    """Our content is complete. Unless `ok`, git throws away what was sent."""

    ok: bool = True


class Failure(_Bare):
    """We can't filter this blob (or list the delayed ones); nothing else is sent for it."""


class Abort(_Bare):
    """As `Failure`, and git shall not ask for this command again.

    The process lives on: git neither stops nor restarts it, and may still use
    the other command.
    """


class Delayed(_Bare):
    """We answer later, when git asks for what is available."""


class Available(NamedTuple):
    """Delayed blobs that are ready; git asks for each of them next.

    None: there are no more, and git reports what it has not got as missing.
    """

    pathnames: tuple[bytes, ...]


Incoming: TypeAlias = (
    ClientHello | Capabilities | Request | Content | EndOfContent | ListAvailable | EndOfInput
)
Outgoing: TypeAlias = (
    ServerHello
    | Capabilities
    | Answer
    | Success
    | Content
    | Done
    | Failure
    | Abort
    | Delayed
    | Available
)
