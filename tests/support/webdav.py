"""A real WebDAV server on loopback, over a directory; only one user may use it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cheroot import wsgi
from wsgidav.wsgidav_app import WsgiDAVApp

from git_datareg.storage import Options

USER, PASSWORD = "ada", "secret-of-ada"


@contextmanager
def serve(directory: Path) -> Iterator[Options]:
    """Serve a directory; gives what reaches it as `webdav://`, whose paths begin there."""
    app = WsgiDAVApp(
        {
            "provider_mapping": {"/": str(directory)},
            "simple_dc": {"user_mapping": {"*": {USER: {"password": PASSWORD}}}},
            "http_authenticator": {
                "accept_basic": True,
                "accept_digest": False,
                "default_to_digest": False,
            },
            "logging": {"enable": False},
            "verbose": 0,
        }
    )
    server = wsgi.Server(("127.0.0.1", 0), app)
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.bind_addr[1]}"
        yield Options(arguments=(("base_url", url), ("auth", f'["{USER}", "{PASSWORD}"]')))
    finally:
        server.stop()
        thread.join()
