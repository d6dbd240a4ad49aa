"""One bucket of an S3 server, as obstore and botocore reach it.

Knows the two libraries, their pitfalls, and how a bucket's region is found. What lies in
the bucket is `s3`'s business. Nothing is asked twice: a fault is the caller's.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from git_datareg.errors import StorageDeniedError, StorageError
from git_datareg.storage import Options, s3faults
from git_datareg.storage.aws import Access, Account, Timeouts
from git_datareg.storage.s3faults import Rejected, Reply
from git_datareg.storage.s3forked import ForkedStore

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config, S3Store

#: Uploads of up to so many bytes share a limit of time; larger ones have another.
_SMALL = 1024 * 1024
_LARGE = 16 * _SMALL
#: A download may take as long as it likes, while its bytes come.
_NO_LIMIT = timedelta(days=7)
#: So many seconds nobody asks again for credentials that were not found: it may take long.
_DENIED = 15.0

_Result = TypeVar("_Result")


class Bucket:
    """A bucket by its name. Nothing is read or asked before the first request.

    `place` names it in messages. obstore's threads are lost in a fork: the child of a
    process that had asked it asks botocore (`s3forked`).
    """

    #: The process that obstore's threads are in.
    _process: ClassVar[int | None] = None

    def __init__(self, name: str, options: Options, timeouts: Timeouts, place: str) -> None:
        self.name = name
        self._options = options
        self._timeouts = timeouts
        self._place = place
        self._lock = threading.Lock()
        self._route: Route | None = None
        #: The process that the route is for.
        self._routed_in = os.getpid()
        self._denied: StorageDeniedError | None = None
        self._denied_until = 0.0

    def ask(self, request: Callable[[Route], _Result]) -> _Result:
        """What a request of obstore's gives; raises Rejected, or what `route` does."""
        route = self.route()
        try:
            return s3faults.asked(lambda: request(route))
        except Rejected as error:
            if not error.reply.is_elsewhere or not self._has_moved(route):
                raise
        moved = self.route()
        return s3faults.asked(lambda: request(moved))

    def route(self) -> Route:
        """The way to the bucket; raises StorageDeniedError when there are no credentials."""
        process = os.getpid()
        if self._routed_in != process:
            # Another thread of the parent may have had the lock.
            self._lock, self._route, self._routed_in = threading.Lock(), None, process
        # Asked for often, so without the lock where it is there.
        return self._route or self._first_route(process)

    def fault(self, reply: Reply) -> StorageError:
        """The fault that a reply is, with what may help."""
        route = self._route
        place = self._place
        if route is None:
            return s3faults.fault(reply, place)
        if reply.status is None:
            place = f"{place} at {route.access.url}"
        hints = () if route.access.credentials is not None else self._unsigned_hints()
        return s3faults.fault(reply, place, *hints)

    def _first_route(self, process: int) -> Route:
        with self._lock:
            if self._denied is not None and time.monotonic() < self._denied_until:
                raise self._denied
            if self._route is None:
                try:
                    is_forked = Bucket._process not in (None, process)
                    self._route = self._routed(self._options, is_forked=is_forked)
                except StorageDeniedError as error:
                    self._denied, self._denied_until = error, time.monotonic() + _DENIED
                    raise
                if not is_forked:
                    Bucket._process = process
            return self._route

    def _unsigned_hints(self) -> tuple[str, ...]:
        if self._options.is_anonymous:
            return ("it is not public: git config --unset datareg.NAME.anonymous",)
        return (
            "no credentials were sent: a repository named this server, not you; to trust it:",
            f"git config --global --add datareg.trustedEndpoint {self._options.endpoint}",
        )

    def _routed(self, options: Options, *, is_forked: bool) -> Route:
        account = Account(self.name, options, self._timeouts, self._place)
        kind = ForkedRoute if is_forked else Route
        return kind(self.name, options, self._timeouts, account, account.access())

    def _has_moved(self, old: Route) -> bool:
        """Whether the bucket is in another region than we took it for; found out once."""
        with self._lock:
            if self._route is not old:
                # Another thread has looked before.
                return True
            region = old.region()
            if region is None or region == old.access.region:
                return False
            options = self._options._replace(region=region)
            self._route = self._routed(options, is_forked=isinstance(old, ForkedRoute))
            return True


class Route:
    """A way to a bucket: in one region, with its credentials and connections."""

    def __init__(
        self, bucket: str, options: Options, timeouts: Timeouts, account: Account, access: Access
    ) -> None:
        self.access = access
        self._bucket = bucket
        self._options = options
        self._timeouts = timeouts
        self._account = account
        self._lock = threading.Lock()

    @cached_property
    def reader(self) -> S3Store:
        """For everything but uploads: it waits as long as bytes come."""
        idle = timedelta(seconds=self._timeouts.idle)
        return self._store({"timeout": _NO_LIMIT, "read_timeout": idle})

    def writer(self, size: int) -> S3Store:
        """For an upload of so many bytes.

        obstore's time-out for reading runs while an upload is sent, and would end
        what is slow. So there is a limit for the whole.
        """
        return self._small_writer if size <= _SMALL else self._large_writer

    def sign(self, path: str, seconds: int) -> str:
        """A URL by which anybody may GET a value for so long; nothing is asked."""
        import obstore

        return obstore.sign(self.reader, "GET", path, timedelta(seconds=seconds))

    def client(self) -> Any:
        """botocore's client for the same bucket; always the same one."""
        with self._lock:
            return self._client

    def region(self) -> str | None:
        """The region that the server says the bucket is in; it is asked once."""
        with self._lock:
            return self._region

    @cached_property
    def _region(self) -> str | None:
        return self._account.bucket_region()

    @cached_property
    def _client(self) -> Any:
        return self._account.client()

    @cached_property
    def _small_writer(self) -> S3Store:
        return self._store({"timeout": self._limit(_SMALL)})

    @cached_property
    def _large_writer(self) -> S3Store:
        return self._store({"timeout": self._limit(_LARGE)})

    def _limit(self, size: int) -> timedelta:
        return timedelta(seconds=self._timeouts.idle + size / self._timeouts.slowest)

    def _store(self, limits: ClientConfig) -> S3Store:
        from obstore.store import S3Store

        options, access = self._options, self.access
        # All that decides where requests go and how is said: what is not said obstore
        # takes from variables of its own.
        config: S3Config = {
            "aws_endpoint_url_s3": access.url,
            "virtual_hosted_style_request": True,
            "region": access.region,
            "skip_signature": access.credentials is None,
            "request_payer": options.request_payer,
            "conditional_put": "etag",
            "s3_express": False,
            "unsigned_payload": False,
            "disable_bulk_delete": True,
        }
        if options.encryption:
            config["server_side_encryption"] = options.encryption
        if options.kms_key:
            config["sse_kms_key_id"] = options.kms_key
        client: ClientConfig = {
            "allow_http": access.url.startswith("http:"),
            "connect_timeout": timedelta(seconds=self._timeouts.connect),
            **limits,
        }
        if access.authorities is not None:
            client["root_certificate"] = access.authorities
        return S3Store(
            self._bucket,
            config=config,
            client_options=client,
            retry_config={"max_retries": 0},
            credential_provider=access.credentials,
        )


class ForkedRoute(Route):
    """A way to a bucket without obstore."""

    @cached_property
    def reader(self) -> Any:
        """See Route."""
        options = self._options
        named = {
            "ServerSideEncryption": options.encryption,
            "SSEKMSKeyId": options.kms_key,
            "StorageClass": options.storage_class,
        }
        return ForkedStore(
            self.client(),
            self._bucket,
            {"RequestPayer": "requester"} if options.request_payer else {},
            {name: value for name, value in named.items() if value},
        )

    def writer(self, size: int) -> Any:
        """See Route."""
        return self.reader

    def sign(self, path: str, seconds: int) -> str:
        """See Route."""
        url: str = self.reader.sign(path, seconds)
        return url
