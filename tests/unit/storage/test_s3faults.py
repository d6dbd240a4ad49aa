"""What exceptions of the two libraries become."""

from __future__ import annotations

from botocore.exceptions import ClientError, EndpointConnectionError
from obstore.exceptions import GenericError, UnauthenticatedError

from git_datareg.errors import StorageDeniedError, StorageError, StorageUnavailableError
from git_datareg.storage import s3faults
from git_datareg.storage.s3faults import Reply

#: As obstore 0.12 words it.
TEXT = """\
Generic S3 error: Error performing GET http://127.0.0.1:1/b/k in 1.2ms - Server returned \
non-2xx status code: 503 Service Unavailable: <?xml version="1.0"?><Error><Code>SlowDown</Code>\
<Message>Please reduce
your rate.</Message></Error>

Debug source:
Generic { status: 400, body: "<Code>Other</Code>" }"""


def test_status_code_and_words_are_taken_from_obstore_s_text() -> None:
    assert s3faults.of_obstore(GenericError(TEXT)) == Reply(
        503, "SlowDown", "please reduce your rate"
    )


def test_without_words_the_status_has_some() -> None:
    text = "x: Server returned non-2xx status code: 502 Bad Gateway: <html>busy</html>"
    assert s3faults.of_obstore(GenericError(text)) == Reply(502, "", "bad Gateway")


def test_a_text_without_a_status_is_a_broken_connection() -> None:
    assert s3faults.of_obstore(GenericError("HTTP error: x")).status is None


def test_credentials_that_can_t_be_renewed_are_denied() -> None:
    text = "no valid credentials for path External AWS credential provider: Expired: sign in"
    reply = s3faults.of_obstore(UnauthenticatedError(text))
    assert reply == Reply(401, "", "expired: sign in")
    assert isinstance(s3faults.fault(reply, "s3://b"), StorageDeniedError)


def test_botocore_s_answers_have_parts() -> None:
    told = {
        "Error": {"Code": "SlowDown", "Message": "Slow\ndown."},
        "ResponseMetadata": {"HTTPStatusCode": 503, "HTTPHeaders": {"retry-after": "12"}},
    }
    reply = s3faults.of_botocore(ClientError(told, "PutObject"))
    assert reply == Reply(503, "SlowDown", "slow down", 12.0)
    fault = s3faults.fault(reply, "s3://b")
    assert isinstance(fault, StorageUnavailableError) and fault.retry_after == 12.0


def test_a_date_to_wait_for_is_left_alone() -> None:
    told = {"ResponseMetadata": {"HTTPHeaders": {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}}}
    assert s3faults.of_botocore(ClientError(told, "PutObject")).retry_after is None


def test_botocore_s_other_faults_have_no_status() -> None:
    reply = s3faults.of_botocore(EndpointConnectionError(endpoint_url="http://h"))
    assert reply.status is None and "http://h" in reply.detail


def test_a_server_s_words_are_one_short_line_that_steers_nothing() -> None:
    text = TEXT.replace("Please reduce", "A\x1b[2J\u202e" + "x" * 1000)
    message = s3faults.fault(s3faults.of_obstore(GenericError(text)), "s3://b").message
    assert message.isprintable() and len(message) < 300


def test_who_knows_better_gives_the_hints() -> None:
    denied = Reply(403, "AccessDenied", "no")
    assert s3faults.fault(denied, "s3://b", "this").hints == ("this",)
    assert "s3:ListBucket" in s3faults.fault(denied, "s3://b").hints[0]


def test_what_no_server_was_asked_for_is_just_a_fault() -> None:
    assert type(s3faults.fault(Reply(400, "Odd", "what"), "s3://b")) is StorageError
