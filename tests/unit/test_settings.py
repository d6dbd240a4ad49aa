from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_datareg import settings
from git_datareg.errors import MetafileError, StorageNotConfiguredError, UsageError
from git_datareg.git.config import ConfigValue
from git_datareg.location import Location
from git_datareg.settings import Settings, build, parse_size, read_tracked

HOME = {"HOME": "/home/ada"}
TRACKED = b"""\
[datareg]
\tstorage = origin
[storage "origin"]
\turl = https://example.org/data
[storage "mirror"]
\turl = https://mirror.example.org/data
\treadonly = true
[storage "nowhere"]
\treadonly = true
"""


def built(tracked: bytes | None = None, /, **own: str) -> Settings:
    """Settings with git configuration of the user's; `a__b` is the key `datareg.a.b`."""
    config = [
        ConfigValue("datareg." + key.replace("__", "."), value, "file:/home/ada/.gitconfig")
        for key, value in own.items()
    ]
    return build([ConfigValue("user.name", "Ada", "x"), *config], tracked, HOME)


def test_without_any_configuration_there_are_defaults() -> None:
    found = built()
    assert found == Settings(
        {}, None, 0, "/home/ada/.cache/git-datareg", 32, (), netrc="/home/ada/.netrc"
    )


def test_storages_come_from_the_tracked_file() -> None:
    found = built(TRACKED)
    assert list(found.storages) == ["origin", "mirror"]
    assert found.default == "origin"
    assert [each.readonly for each in found.storages.values()] == [False, True]
    assert found.storage("origin").origin == "file:.datareg"


def test_private_addresses_are_the_users_to_allow() -> None:
    assert not built().allow_private
    assert not built(b"[datareg]\n\tallowPrivate = true\n").allow_private
    assert built(allowprivate="yes").allow_private
    with pytest.raises(UsageError, match="allowPrivate"):
        built(allowprivate="perhaps")


def test_the_user_s_configuration_wins_key_by_key() -> None:
    found = built(TRACKED, storage="mirror", mirror__url="/mnt/mirror", origin__readonly="yes")
    assert found.default == "mirror"
    mirror, origin = found.storage("mirror"), found.storage("origin")
    assert mirror.location == Location("/mnt/mirror")
    assert mirror.origin == "file:/home/ada/.gitconfig"
    assert mirror.readonly
    assert origin.readonly
    assert origin.location == Location("https://example.org/data")
    assert not built(TRACKED, mirror__readonly="0").storage("mirror").readonly


def test_the_user_may_add_storages_and_have_none_by_default() -> None:
    found = built(TRACKED, storage="", own__url="s3://bucket", **{"a.b__url": "/mnt/x"})
    assert found.default is None
    assert list(found.storages) == ["origin", "mirror", "own", "a.b"]


def test_later_configuration_of_the_user_wins() -> None:
    values = [ConfigValue("datareg.jobs", text, "x") for text in ("2", "3")]
    assert build(values, None, HOME).jobs == 3


def test_an_unknown_storage_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(StorageNotConfiguredError, match="origin, mirror"):
        built(TRACKED).storage("other")
    with pytest.raises(StorageNotConfiguredError, match="none"):
        built().storage("other")


def test_the_threshold_is_never_the_user_s() -> None:
    assert built(b"[datareg]\n\tthreshold = 1k\n", threshold="5k").threshold == 1024
    assert built(None, threshold="5k").threshold == 0


def test_what_is_not_allowed_in_the_tracked_file_is_ignored_with_a_warning() -> None:
    text = b"[datareg]\n\tcache = /x\n\tskipSmudge = true\n[core]\n\thooksPath = evil\n"
    text += b'[storage]\n\turl = x\n[storage ""]\n\turl = y\n'
    found = built(text)
    assert found._replace(warnings=()) == built()
    keys = [warning.split()[2] for warning in found.warnings]
    assert keys == ["datareg.cache", "datareg.skipsmudge", "core.hookspath"] + ["storage.url"] * 2


def test_keys_of_later_use_are_allowed() -> None:
    keys = b"url = s3://b\n region = r\n endpoint = e\n include = a\n exclude = b\n readonly = no\n"
    items, warnings = read_tracked(b'[storage "a"]\n' + keys + b"[datareg]\ninclude=a\nexclude=b")
    assert (len(items), warnings) == (8, ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[datareg\n", "line 1"),
        (b"[datareg]\n\tversion = 2\n", "version 2"),
        (b"[datareg]\n\tversion =\n", "version"),
        (b"[datareg]\n\tthreshold = 1x\n", "threshold"),
        (b'[storage "a"]\n\turl =\n', "'a'"),
        (b'[storage "a"]\n\turl = file://b\n', "'a'"),
        (b'[storage "a"]\n\turl = b\n\treadonly = x\n', "'a'"),
    ],
)
def test_a_tracked_file_that_can_t_be_meant_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(MetafileError, match=words) as caught:
        built(text)
    assert ".datareg" in caught.value.message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("jobs", "0"),
        ("jobs", "1025"),
        ("jobs", "x"),
        ("jobs", "-1"),
        ("jobs", "\u00b2"),
        ("jobs", "9" * 5000),
        ("origin__readonly", "maybe"),
        ("a__url", "-x"),
    ],
)
def test_a_value_of_the_user_s_that_can_t_be_meant_is_refused(key: str, value: str) -> None:
    with pytest.raises(UsageError):
        built(TRACKED, **{key: value})


@pytest.mark.parametrize(
    ("configured", "environ", "cache"),
    [
        ("", {}, "/home/ada/.cache/git-datareg"),
        ("", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/git-datareg"),
        ("", {"XDG_CACHE_HOME": "relative"}, "/home/ada/.cache/git-datareg"),
        ("", {"XDG_CACHE_HOME": ""}, "/home/ada/.cache/git-datareg"),
        ("/mnt/cache", {"XDG_CACHE_HOME": "/xdg"}, "/mnt/cache"),
        ("~/cache", {}, "/home/ada/cache"),
        ("~/cache", {"GIT_DATAREG_CACHE": "/env"}, "/env"),
        ("/mnt/cache", {"GIT_DATAREG_CACHE": ""}, "/mnt/cache"),
        ("", {"GIT_DATAREG_CACHE": "here"}, "{cwd}/here"),
    ],
)
def test_the_cache_is_found(configured: str, environ: dict[str, str], cache: str) -> None:
    config = [ConfigValue("datareg.cache", configured, "x")] if configured else []
    found = build(config, None, HOME | environ).cache
    assert found == cache.format(cwd=os.getcwd())


@pytest.mark.parametrize("configured", ["", "~/cache"])
def test_without_a_home_there_is_no_cache_unless_it_is_named(configured: str) -> None:
    config = [ConfigValue("datareg.cache", configured, "x")] if configured else []
    for environ in ({}, {"HOME": ""}):
        assert build(config, None, environ).cache is None
    assert build(config, None, {"GIT_DATAREG_CACHE": "/env"}).cache == "/env"
    assert build([], None, {"XDG_CACHE_HOME": "/xdg"}).cache == "/xdg/git-datareg"


@given(
    st.integers(0, 10**12),
    st.sampled_from(["", "b", "k", "kb", "kib", "m", "g", "t", "tib"]),
    st.sampled_from(["", " "]),
    st.booleans(),
)
def test_sizes_are_powers_of_1024(number: int, unit: str, space: str, is_upper: bool) -> None:
    text = f" {number}{space}{unit.upper() if is_upper else unit} "
    power = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4}[unit[:1]]
    assert parse_size(text, "x") == number * 1024**power


NO_SIZES = ["", " ", "k", "-1", "+1", "1.5m", "1e3", "0x10", "1ib", "1i", "1ki", "1kk", "k1", "1 2"]
NO_SIZES += ["1_000", "\u00b2", "\u0661", "1\u212a", "9" * 19, "1p", "1kbb"]


@pytest.mark.parametrize("text", NO_SIZES)
def test_what_is_no_size_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(UsageError, match="--above") as caught:
        parse_size(text, "--above")
    assert caught.value.hints


@given(st.text(max_size=6))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    try:
        assert parse_size(text, "x") >= 0
    except UsageError as error:
        assert repr(text) in error.message


def test_include_in_the_tracked_file_reads_nothing() -> None:
    text = b"[include]\n\tpath = /etc/hostname\n"
    assert settings.read_tracked(text)[0] == []


def test_the_user_s_logins_and_certificates_are_where_git_and_others_look_for_them() -> None:
    assert built().netrc == "/home/ada/.netrc"
    assert build((), None, {**HOME, "NETRC": "/n"}).netrc == "/n"
    # A relative one would be anybody's.
    assert build((), None, {"GIT_DATAREG_CACHE": "/c"}).netrc == ""
    assert built().ca_file is None
    assert (
        build((), None, {**HOME, "REQUESTS_CA_BUNDLE": "/r", "CURL_CA_BUNDLE": "/c"}).ca_file
        == "/r"
    )
    assert build((), None, {**HOME, "SSL_CERT_FILE": "/s", "CURL_CA_BUNDLE": "/c"}).ca_file == "/s"
    config = [ConfigValue("http.sslcainfo", "~/ca.pem", "x")]
    assert build(config, None, {**HOME, "SSL_CERT_FILE": "/s"}).ca_file == "/home/ada/ca.pem"
    assert build(config, None, {**HOME, "GIT_SSL_CAINFO": "/g"}).ca_file == "/g"


STORAGE = b'[storage "s"]\n\turl = s3://b\n\tendpoint = https://S3.example.org/\n\tregion = r\n'


def test_an_endpoint_is_trusted_when_the_user_names_it() -> None:
    options = built(STORAGE).storage("s").options
    assert (options.endpoint, options.region) == ("https://S3.example.org/", "r")
    assert not options.is_trusted
    assert built(STORAGE, trustedendpoint="https://s3.example.org").storage("s").options.is_trusted
    own = built(STORAGE, s__endpoint="https://other.example.org").storage("s").options
    assert own == options._replace(endpoint="https://other.example.org", is_trusted=True)


def test_what_the_user_says_of_a_storage_becomes_its_options() -> None:
    said = {
        "s__profile": "work",
        "s__anonymous": "yes",
        "s__requestpayer": "true",
        "s__sse": "aws:kms",
        "s__ssekmskeyid": "key",
        "s__storageclass": "GLACIER_IR",
        "s__pathstyle": "no",
        "s__connections": "5",
        "s__option": "timeout=3",
    }
    found = built(STORAGE, **said).storage("s").options
    assert (found.profile, found.is_anonymous, found.request_payer) == ("work", True, True)
    assert (found.encryption, found.kms_key, found.storage_class) == (
        "aws:kms",
        "key",
        "GLACIER_IR",
    )
    assert (found.path_style, found.connections) == (False, 5)
    assert found.arguments == (("timeout", "3"),)


@pytest.mark.parametrize("said", [{"s__connections": "0"}, {"s__put": "x"}, {"s__option": "x"}])
def test_what_can_t_be_meant_of_a_storage_is_refused(said: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"datareg\.s\."):
        built(STORAGE, **said)


def test_what_is_fetched_is_the_repository_s_advice_and_the_user_s_to_say() -> None:
    tracked = b"[datareg]\n\tinclude = a/\n\tinclude = b/\n\texclude = *.raw\n"
    advised = built(tracked)
    assert (advised.include, advised.exclude) == (("a/", "b/"), ("*.raw",))
    own = built(tracked, exclude="c/")
    assert (own.include, own.exclude) == ((), ("c/",))
    everything = built(tracked, exclude="")
    assert (everything.include, everything.exclude) == ((), ())
