"""Connections to web servers: TLS, proxies, and addresses that are not to be reached.

Owns the pools that keep connections open. Knows nothing of what is asked for.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.request import getproxies, proxy_bypass

from git_datareg import trust
from git_datareg.errors import StorageError
from git_datareg.storage.weburl import Origin

if TYPE_CHECKING:
    from urllib3 import HTTPConnectionPool, PoolManager

#: Connections that a pool keeps; more are opened when they are needed, and closed after that.
_KEPT = 64
_BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class PrivateAddressError(Exception):
    """An address that is not to be reached; `str()` is the address."""


class Timeouts(NamedTuple):
    """Seconds until we give up."""

    connect: float = 10.0
    #: While nothing comes.
    idle: float = 30.0


class Pool(NamedTuple):
    """The connections to one origin."""

    connections: HTTPConnectionPool
    #: Whether a proxy wants to be told the whole URL.
    is_forwarded: bool


class Connections:
    """The pools of one storage. Nothing is opened before it is needed.

    A child that was forked has its own: two processes can't talk by one connection.
    """

    def __init__(self, timeouts: Timeouts, ca_file: str | None, *, is_guarded: bool) -> None:
        self._timeouts = timeouts
        self._ca_file = ca_file
        self._is_guarded = is_guarded
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._pools: dict[Origin, Pool] = {}
        self._managers: dict[tuple[str, str | None], PoolManager] = {}

    def pool(self, origin: Origin) -> Pool:
        """The pool for an origin.

        Raises PrivateAddressError, also later when it connects, and StorageError
        for a proxy or certificates that can't be used.
        """
        if os.getpid() != self._process:
            self._forget()
        found = self._pools.get(origin)
        if found is None:
            with self._lock:
                found = self._pools.get(origin) or self._pool(origin)
                self._pools[origin] = found
        return found

    def _pool(self, origin: Origin) -> Pool:
        if self._is_guarded and trust.is_private(origin.host):
            raise PrivateAddressError(origin.host)
        proxy = _proxy(origin)
        manager = self._managers.get((origin.scheme, proxy))
        if manager is None:
            manager = self._managers[origin.scheme, proxy] = self._manager(origin.scheme, proxy)
        connections = manager.connection_from_host(
            origin.host.strip("[]"), origin.port, scheme=origin.scheme
        )
        return Pool(connections, proxy is not None and origin.scheme == "http")

    def _manager(self, scheme: str, proxy: str | None) -> PoolManager:
        # It takes more than 100 ms to load.
        from urllib3 import PoolManager, ProxyManager, Timeout, make_headers
        from urllib3.util import parse_url

        settings: dict[str, Any] = {
            "maxsize": _KEPT,
            "timeout": Timeout(connect=self._timeouts.connect, read=self._timeouts.idle),
        }
        if scheme == "https":
            # To read the system's certificates takes as long.
            settings["ssl_context"] = self._tls()
        if proxy is None:
            manager = PoolManager(**settings)
            if self._is_guarded:
                manager.pool_classes_by_scheme = _guarded_pools()
            return manager
        login = parse_url(proxy).auth
        headers = make_headers(proxy_basic_auth=login) if login else None
        if proxy.lower().startswith("https:"):
            settings["proxy_ssl_context"] = self._tls()
        return ProxyManager(proxy, proxy_headers=headers, **settings)

    def _tls(self) -> ssl.SSLContext:
        if self._ca_file is None:
            # With SSL_CERT_FILE and SSL_CERT_DIR, which OpenSSL itself knows.
            return ssl.create_default_context()
        try:
            if os.path.isdir(self._ca_file):
                return ssl.create_default_context(capath=self._ca_file)
            return ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:
            raise StorageError(
                f"can't read certificates: {self._ca_file}",
                "it is named by http.sslCAInfo or by the environment",
            ) from error


def _proxy(origin: Origin) -> str | None:
    """The proxy that the environment (or the system) has for an origin."""
    host = origin.host.strip("[]")
    if proxy_bypass(host) or proxy_bypass(f"{host}:{origin.port}"):
        return None
    proxies = getproxies()
    found = proxies.get(origin.scheme) or proxies.get("all")
    if not found:
        return None
    spelled = found if "://" in found else f"http://{found}"
    scheme = spelled.partition(":")[0].lower()
    if scheme not in ("http", "https"):
        raise StorageError(
            f"a proxy by {scheme} can't be used for {origin}",
            "set http_proxy or https_proxy to an http proxy, or name the host in no_proxy",
        )
    return spelled


def check_public(address: str) -> None:
    """Raise PrivateAddressError for an address of this machine or its network."""
    plain = address.partition("%")[0]
    if "%" in address or trust.is_private(f"[{plain}]" if ":" in plain else plain):
        raise PrivateAddressError(address)


def _guarded_pools() -> dict[str, Any]:
    """The classes of pools that open no connection to a private address.

    A name is looked up and checked before, so that nothing private is touched, and
    the peer after that: a name server may answer otherwise the second time ("DNS
    rebinding"). Then a connection was opened, but nothing was sent.
    """
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection, HTTPSConnection

    class Guarded(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            try:
                found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            except OSError:
                # To be told by who looks it up again.
                found = []
            for each in found:
                check_public(str(each[4][0]))
            opened = super()._new_conn()
            try:
                check_public(str(opened.getpeername()[0]))
            except BaseException:
                opened.close()
                raise
            return opened

    class GuardedTls(Guarded, HTTPSConnection):
        pass

    class Pool(HTTPConnectionPool):
        ConnectionCls = Guarded

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = GuardedTls

    return {"http": Pool, "https": TlsPool}
