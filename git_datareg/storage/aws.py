"""How a user's access to S3 is set up: credentials, region and endpoint for one bucket.

Knows AWS's environment variables, and through botocore its configuration files: profiles,
SSO, roles, and what machines in the cloud are given. Credentials go to the endpoint that
the user named, or that the user's own configuration leads to, and nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from git_datareg.errors import StorageDeniedError, StorageUnavailableError, UsageError
from git_datareg.storage import Options

if TYPE_CHECKING:
    from obstore.store import S3Credential

_DEFAULT_REGION = "us-east-1"
#: It becomes part of a host's name, so nothing else may be in it.
_REGION = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
#: So often credentials that expire are asked for anew; botocore renews them in time.
_ASK_AGAIN = timedelta(minutes=10)
_PORTS = {"http": 80, "https": 443}
#: Variables by which more than keys, region and endpoint counts.
_STEERING = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
)


class Timeouts(NamedTuple):
    """How long to wait: in seconds, but for `slowest`."""

    #: For a connection.
    connect: float = 10.0
    #: For the next byte, however long the whole takes.
    idle: float = 30.0
    #: The slowest upload that is waited for, in bytes per second.
    slowest: int = 64 * 1024


class Access(NamedTuple):
    """How a bucket is reached."""

    #: What a key is appended to, behind a slash.
    url: str
    region: str
    #: Gives valid credentials whenever it is called; None where nothing is to be signed.
    credentials: Callable[[], S3Credential] | None
    #: More authorities to trust, in PEM.
    authorities: bytes | None


def check(options: Options) -> None:
    """Raise UsageError for an endpoint or a region that can't be one."""
    if options.region is not None and not _REGION.fullmatch(options.region):
        raise UsageError(f"not a region: {options.region!r}")
    if options.endpoint is not None:
        _origin(options.endpoint)


class Account:
    """What the user has configured, seen from one bucket.

    Nothing is read before it is asked for. What the configuration lacks or can't
    give (no credentials, no such profile) is a StorageDeniedError that names `place`.
    Not for several threads at once.
    """

    def __init__(self, bucket: str, options: Options, timeouts: Timeouts, place: str) -> None:
        check(options)
        self._bucket = bucket
        self._options = options
        self._timeouts = timeouts
        self._place = place

    def access(self) -> Access:
        """How to reach the bucket; may ask a service of AWS for credentials."""
        with self._faults():
            return Access(self._url(), self._region, self._credentials(), self._authorities())

    def client(self) -> Any:
        """A client of botocore for the bucket's server, for several threads.

        It tries once more by itself: one fault among thousands of parts must not
        cost a whole attempt.
        """
        with self._faults():
            return self._client(self._options.endpoint, is_signed=self.is_signed)

    def bucket_region(self) -> str | None:
        """The region that the server says the bucket is in, if it does."""
        from botocore.exceptions import ClientError, InvalidRegionError

        client = self.client()
        with self._faults():
            try:
                told = client.head_bucket(Bucket=self._bucket)
            except ClientError as error:
                told = error.response
            except InvalidRegionError:
                # The server said so, and botocore was about to go there.
                return None
        headers = told.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = str(headers.get("x-amz-bucket-region", ""))
        return region if _REGION.fullmatch(region) else None

    @cached_property
    def is_signed(self) -> bool:
        """Whether the user's credentials may be sent, and are to be."""
        if self._options.is_anonymous:
            return False
        endpoint = self._options.endpoint
        if endpoint is None or self._options.is_trusted:
            return True
        with self._faults():
            return _origin(endpoint) == _origin(self._own_endpoint())

    @property
    def _is_plain(self) -> bool:
        """Whether all that counts is in well-known variables, so that botocore isn't needed.

        It takes a quarter of a second to load.
        """
        files = {
            "AWS_CONFIG_FILE": "~/.aws/config",
            "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
        }
        return not (
            self._options.profile
            or any(os.environ.get(name) for name in _STEERING)
            or any(
                os.path.exists(os.path.expanduser(os.environ.get(name) or default))
                for name, default in files.items()
            )
        )

    @cached_property
    def _region(self) -> str:
        found = (
            self._options.region
            or os.environ.get("AWS_REGION")
            or os.environ.get("AWS_DEFAULT_REGION")
            or (not self._is_plain and self._session.get_config_variable("region"))
            or _DEFAULT_REGION
        )
        check(Options(region=found))
        return str(found)

    def _own_endpoint(self) -> str:
        """Where the user's own configuration leads to, whatever the options say."""
        if not self._is_plain:
            return str(self._client(None, is_signed=False).meta.endpoint_url)
        return _endpoint_of(os.environ) or _aws_endpoint(self._region)

    def _url(self) -> str:
        if not self._is_plain:
            return self._url_by_botocore()
        configured = self._options.endpoint or _endpoint_of(os.environ)
        check(Options(endpoint=configured))
        endpoint = (configured or _aws_endpoint(self._region)).rstrip("/")
        scheme, _, rest = endpoint.partition("://")
        is_path = self._options.path_style
        if is_path is None:
            # No certificate is for a name with a dot in its first part.
            is_path = configured is not None or "." in self._bucket
        place = f"{rest}/{self._bucket}" if is_path else f"{self._bucket}.{rest}"
        return f"{scheme.lower()}://{place}"

    def _url_by_botocore(self) -> str:
        """As botocore would ask for a key: by all of its rules, up to the sending."""

        class Made(Exception):
            pass

        def stop(request: Any, **_: Any) -> None:
            raise Made(request.url)

        client = self._client(self._options.endpoint, is_signed=False)
        client.meta.events.register("before-send.s3.HeadObject", stop)
        try:
            client.head_object(Bucket=self._bucket, Key="k")
        except Made as made:
            return str(made).removesuffix("/k")
        raise AssertionError("botocore has sent a request that was stopped")

    def _credentials(self) -> Callable[[], S3Credential] | None:
        if not self.is_signed:
            return None
        plain = _keys_of(os.environ) if self._is_plain else None
        if plain is not None:
            return lambda: plain
        found = self._session.get_credentials()
        if found is None:
            raise StorageDeniedError(
                f"no AWS credentials: {self._place}",
                "name a profile: AWS_PROFILE, or git config datareg.NAME.profile PROFILE",
                "for a public bucket: git config datareg.NAME.anonymous true",
            )

        def credentials() -> S3Credential:
            frozen = found.get_frozen_credentials()
            return {
                "access_key_id": frozen.access_key,
                "secret_access_key": frozen.secret_key,
                "token": frozen.token,
                "expires_at": datetime.now(UTC) + _ASK_AGAIN,
            }

        # Whatever is wrong with them is told here, and not by each request.
        credentials()
        return credentials

    def _authorities(self) -> bytes | None:
        path = os.environ.get("AWS_CA_BUNDLE")
        if not path and not self._is_plain:
            path = self._session.get_config_variable("ca_bundle")
        path = path or os.environ.get("REQUESTS_CA_BUNDLE")
        if not path:
            return None
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            raise StorageDeniedError(
                f"{error.strerror}: {path}", "check AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE, ca_bundle"
            ) from error

    @cached_property
    def _session(self) -> Any:
        from botocore.session import Session

        return Session(profile=self._options.profile)

    def _client(self, endpoint: str | None, *, is_signed: bool) -> Any:
        from botocore import UNSIGNED
        from botocore.config import Config

        styles = {True: "path", False: "virtual"}
        own = {"payload_signing_enabled": False, "us_east_1_regional_endpoint": "regional"}
        if self._options.path_style is not None:
            own["addressing_style"] = styles[self._options.path_style]
        config = Config(
            signature_version="s3v4" if is_signed else UNSIGNED,
            connect_timeout=self._timeouts.connect,
            # Some servers put the parts together before they answer.
            read_timeout=2 * self._timeouts.idle,
            retries={"mode": "standard", "total_max_attempts": 2},
            max_pool_connections=16,
            # Bodies are signed, or have their MD5; more is not understood everywhere.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3=own,
        )
        return self._session.create_client(
            "s3", region_name=self._region, endpoint_url=endpoint, config=config
        )

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Context in which botocore's own faults become ours."""
        try:
            yield
        except (StorageDeniedError, UsageError):
            raise
        except Exception as error:
            from botocore import exceptions

            if isinstance(error, (exceptions.HTTPClientError, exceptions.ConnectionError)):
                raise StorageUnavailableError(f"{_line(error)}: {self._place}") from error
            # A configured endpoint that is none is a ValueError.
            if isinstance(error, (exceptions.BotoCoreError, exceptions.ClientError, ValueError)):
                raise StorageDeniedError(
                    f"{_line(error)}: {self._place}",
                    "check AWS's configuration: aws configure list",
                ) from error
            raise


def _line(error: Exception) -> str:
    line = " ".join(str(error).split()).rstrip(".")
    return line[:1].lower() + line[1:]


def _keys_of(environ: Mapping[str, str]) -> S3Credential | None:
    """Credentials that the environment has."""
    key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not key or not secret:
        return None
    token = environ.get("AWS_SESSION_TOKEN") or environ.get("AWS_SECURITY_TOKEN") or None
    return {"access_key_id": key, "secret_access_key": secret, "token": token, "expires_at": None}


def _endpoint_of(environ: Mapping[str, str]) -> str | None:
    """The endpoint that the environment has."""
    return environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or None


def _aws_endpoint(region: str) -> str:
    # The regions of China are a partition of their own.
    end = ".cn" if region.startswith("cn-") else ""
    return f"https://s3.{region}.amazonaws.com{end}"


def _origin(endpoint: str) -> tuple[str, str, int]:
    """Scheme, host and port of an endpoint; raises UsageError for what is none."""
    try:
        url = urlsplit(endpoint)
        host, port = url.hostname, url.port
    except ValueError:
        host = None
    is_odd = not endpoint.isascii() or not endpoint.isprintable() or set(" \\?#@") & set(endpoint)
    if not host or is_odd or url.scheme not in _PORTS:
        raise UsageError(
            f"not the URL of an S3 server: {endpoint.partition('?')[0].rpartition('@')[2]!r}",
            "write for example https://s3.example.org or http://127.0.0.1:9000",
        )
    return url.scheme, host.lower().rstrip("."), port or _PORTS[url.scheme]
