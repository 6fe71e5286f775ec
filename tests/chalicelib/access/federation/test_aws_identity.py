"""Presigned requests: what is accepted as one, and what is sent to STS."""

from __future__ import annotations

import pytest

from chalicelib.access.federation.aws_identity import (
    EARLY,
    MAX_LENGTH,
    MAX_LIFE,
    parse_caller,
    parse_presigned,
)
from chalicelib.access.refusals import Reason
from tests.chalicelib.access import values
from tests.chalicelib.access.values import NOW
from tests.support.presigned import SIGNED_AT, parameters, presigned, query, stamp


def lacking(name: str) -> str:
    """Return the URL of a request that lacks a parameter."""
    pairs = [pair for pair in query().split("&") if not pair.startswith(f"{name}=")]
    return f"https://sts.eu-central-1.amazonaws.com/?{'&'.join(pairs)}"


GOOD = presigned()


def reason_of(url: str, now: float = NOW) -> Reason:
    """Return why a URL is refused."""
    return values.reason_of(parse_presigned, url, now)


def test_a_presigned_request_comes_out_as_it_went_in() -> None:
    """Its repr shows neither signature nor token."""
    token = "IQoJ+/" * 200 + "=="
    for url in (GOOD, presigned(X_Amz_Security_Token=token)):
        parsed = parse_presigned(url, NOW)
        assert parsed.url == url
        assert parsed.host == "sts.eu-central-1.amazonaws.com"
        assert "0123456789abcdef" not in repr(parsed)


def test_needless_escapes_in_a_query_are_removed() -> None:
    """The order of the parameters stays."""
    pairs = query().split("&")
    spelled = "&".join(reversed(pairs)).replace("%2F", "/").replace("2011-06-15", "2011%2d06-15")
    parsed = parse_presigned(f"https://sts.eu-central-1.amazonaws.com/?{spelled}", NOW)
    assert parsed.query == "&".join(reversed(pairs))


REGIONS = {
    "sts.amazonaws.com": "us-east-1",
    "sts.cn-north-1.amazonaws.com.cn": "cn-north-1",
    **{f"sts.{name}.amazonaws.com": name for name in ("us-gov-west-1", "ap-southeast-5")},
}


@pytest.mark.parametrize(("host", "region"), REGIONS.items())
def test_sts_has_a_global_host_and_one_in_each_region(host: str, region: str) -> None:
    """A request must be signed for the region of its host."""
    url = f"https://{host}/?{query(region)}"
    assert parse_presigned(url, NOW).url == url
    assert reason_of(f"https://{host}/?{query('eu-west-3')}") == Reason.AWS_FORM


# fmt: off
HOSTS = [
    "sts.amazonaws.com.evil.example", "sts.eu-central-1.amazonaws.com.evil.example",
    "sts.eu-central-1.amazonaws.com@127.0.0.1", "user@sts.eu-central-1.amazonaws.com",
    "user:pass@sts.eu-central-1.amazonaws.com", "sts.eu-central-1.amazonaws.com:443",
    "sts.eu-central-1.amazonaws.com:8443", "sts.eu-central-1.amazonaws.com.",
    "STS.eu-central-1.amazonaws.com", "xsts.eu-central-1.amazonaws.com",
    "evil.sts.eu-central-1.amazonaws.com", "sts.evil.eu-central-1.amazonaws.com",
    "sts.evil.amazonaws.com", "sts.s3.amazonaws.com", "sts.s3-us-east-1.amazonaws.com",
    "sts..amazonaws.com", "sts.amazonaws.com.cn", "sts.eu-central-1.amazonaws.com.cn",
    "sts.cn-north-1.amazonaws.com", "sts-eu-central-1.amazonaws.com", "iam.amazonaws.com",
    "s3.eu-central-1.amazonaws.com", "sts.eu-central-1.amazonaws.co", "amazonaws.com", "",
    "127.0.0.1", "[::1]", "169.254.169.254", "localhost", "sts.eu-central-1.amazonaws.com\\",
    "evil.example\\@sts.amazonaws.com", "evil.example#sts.eu-central-1.amazonaws.com",
    "evil.example/sts.eu-central-1.amazonaws.com", "evil.example?sts.eu-central-1.amazonaws.com",
    "sts.eu-central-1%2eamazonaws.com", "sts.eu-central-1.amazonaws.com%00.evil.example",
    "sts.eu-central-1.amazonaws.com\n", "sts.eu-central-\u0661.amazonaws.com",
    "sts.eu-central-1.amazonaws\u3002com", "\u017fts.eu-central-1.amazonaws.com",
]
URLS = [
    "", "x", GOOD.replace("https", "http"), GOOD.replace("https", "HTTPS"),
    GOOD.replace("https:", ""), GOOD.replace("https://", "file://"), " " + GOOD, GOOD + " ",
    GOOD + "\n", GOOD + "#", GOOD + "#x", GOOD.replace("/?", "?"), GOOD.replace("/?", "//?"),
    GOOD.replace("/?", "/x?"), GOOD.replace("/?", "/%2e?"), GOOD.replace("/?", "/;x?"),
    GOOD.replace("/?", "/"), GOOD.replace("/?", "/??"), GOOD.replace("//", "///"),
    GOOD.replace("//", "/\\"), GOOD + "&", GOOD.replace("?", "?&"), GOOD.replace("&", "&&", 1),
    GOOD.replace("&", ";"), GOOD.replace("&", "&amp;"), GOOD + "%", GOOD + "%4", GOOD + "%zz",
    GOOD + "\u00e9", GOOD + "\0", GOOD.replace("-15", "-15+"), GOOD.replace("-15", "-15%0a"),
    GOOD.replace("-15", "-1%D9%A5"), GOOD.replace("-15", "-15%ff"),
    # another question
    presigned(Action="AssumeRole"), presigned(Action="GetSessionToken"),
    presigned(Action="getcalleridentity"), presigned(Action="GetCallerIdentity "),
    presigned(Action="GetCallerIdentity&Action=AssumeRole"), presigned(Action=""),
    presigned(Version="2011-06-16"), GOOD + "&Action=GetCallerIdentity",
    GOOD + "&Action=AssumeRole", GOOD + "&action=AssumeRole", GOOD + "&RoleArn=x",
    GOOD + "&Version=2011-06-15", GOOD + "&x=y", GOOD + "&=", GOOD + "&X-Amz-Meta=x",
    GOOD.replace("Action", "%41ction"), GOOD + "&%41ction=AssumeRole", GOOD + "&X-Amz-Expires=60",
    GOOD + "&X-Amz-Security-Token=", GOOD + "&X-Amz-Security-Token=a%20b",
    GOOD + "&X-Amz-Security-Token=a&X-Amz-Security-Token=b",
    # another signature
    presigned(X_Amz_SignedHeaders="host"), presigned(X_Amz_SignedHeaders="x-moorage-registry"),
    presigned(X_Amz_SignedHeaders="host;x-amz-date;x-moorage-registry"),
    presigned(X_Amz_SignedHeaders="x-moorage-registry;host"),
    presigned(X_Amz_SignedHeaders="host;x-moorage-registry;"),
    presigned(X_Amz_SignedHeaders="host;X-Moorage-Registry"), presigned(X_Amz_SignedHeaders=""),
    presigned(X_Amz_SignedHeaders="host;x-other-registry"),
    presigned(X_Amz_Algorithm="AWS4-ECDSA-P256-SHA256"), presigned(X_Amz_Algorithm="AWS3"),
    presigned(X_Amz_Signature="0" * 63), presigned(X_Amz_Signature="0" * 65),
    presigned(X_Amz_Signature="A" * 64), presigned(X_Amz_Signature=""),
    presigned(X_Amz_Credential=f"AKIAIOSFODNN7EXAMPLE/{stamp(NOW)[:8]}/eu-central-1/s3/aws4_request"),
    presigned(X_Amz_Credential="AKIAIOSFODNN7EXAMPLE/20200101/eu-central-1/sts/aws4_request"),
    presigned(X_Amz_Credential=f"AKIAIOSFODNN7EXAMPLE/{stamp(NOW)[:8]}/eu-central-1/sts"),
    presigned(X_Amz_Credential=f"A/B/{stamp(NOW)[:8]}/eu-central-1/sts/aws4_request"),
    presigned(X_Amz_Credential="AKIAIOSFODNN7EXAMPLE"),
    # times that are none
    presigned(X_Amz_Date="2025-11-24T16:00:00Z"), presigned(X_Amz_Date=""),
    presigned(X_Amz_Date=stamp(NOW)[:8] + "T250000Z"), presigned(X_Amz_Date=stamp(NOW) + "Z"),
    presigned(X_Amz_Expires="0"), presigned(X_Amz_Expires="-1"), presigned(X_Amz_Expires="901"),
    presigned(X_Amz_Expires="9" * 400), presigned(X_Amz_Expires="060"),
    presigned(X_Amz_Expires="6e1"), presigned(X_Amz_Expires="60.0"),
    presigned(X_Amz_Expires="\u0666\u0660"), presigned(X_Amz_Expires=""),
    *map(lacking, parameters()),
    *(f"https://{host}/?{query()}" for host in HOSTS),
]
# fmt: on


@pytest.mark.parametrize("url", URLS, ids=range(len(URLS)))
def test_a_request_other_than_getcalleridentity_is_refused(url: str) -> None:
    """It must go to STS, sign the registry's header, and have each parameter once."""
    assert reason_of(url) == Reason.AWS_FORM


def test_a_url_above_max_length_is_refused() -> None:
    """A URL of exactly the longest length is read."""
    rest = MAX_LENGTH - len(presigned(X_Amz_Security_Token=""))
    assert parse_presigned(presigned(X_Amz_Security_Token="a" * rest), NOW)
    assert reason_of(presigned(X_Amz_Security_Token="a" * (rest + 1))) == Reason.IDENTITY_LENGTH


def test_a_request_is_valid_for_as_long_as_it_says() -> None:
    """From EARLY seconds before it was signed."""
    assert parse_presigned(GOOD, SIGNED_AT - EARLY)
    assert reason_of(GOOD, SIGNED_AT - EARLY - 0.5) == Reason.IDENTITY_EARLY
    assert parse_presigned(GOOD, SIGNED_AT + 59.9)
    assert reason_of(GOOD, SIGNED_AT + 60) == Reason.IDENTITY_EXPIRED
    long = presigned(X_Amz_Expires=str(MAX_LIFE))
    assert parse_presigned(long, SIGNED_AT + MAX_LIFE - 1)
    assert reason_of(long, SIGNED_AT + MAX_LIFE) == Reason.IDENTITY_EXPIRED


# fmt: off
ACCOUNT = "123456789012"
CALLERS = [
    "arn:aws:sts::123456789012:assumed-role/ci/run-7", "arn:aws:iam::123456789012:root",
    "arn:aws:iam::123456789012:user/path/somebody", "arn:aws-cn:sts::123456789012:federated-user/x",
    "arn:aws-us-gov:sts::123456789012:assumed-role/a@b=c,d/e",
]
NO_CALLERS: list[tuple[object, object]] = [
    *((CALLERS[0], account) for account in ("210987654321", None, 123456789012)),
    ("arn:aws:s3:::bucket", ACCOUNT), ("arn:aws:sts::123456789012:", ACCOUNT),
    ("arn:aws:sts::123456789012:a b", ACCOUNT), ("arn:aws:sts::123456789012:a\n", ACCOUNT),
    ("", ""), (None, None), (["arn:aws:sts::123456789012:x"], ACCOUNT),
]
# fmt: on


@pytest.mark.parametrize("arn", CALLERS)
def test_a_caller_has_the_arn_that_sts_names(arn: str) -> None:
    """The ARN may be of a role, a user, the root user or a federated user."""
    assert parse_caller(arn, ACCOUNT) == arn


@pytest.mark.parametrize(("arn", "account"), NO_CALLERS, ids=range(len(NO_CALLERS)))
def test_an_answer_without_a_caller_is_refused(arn: object, account: object) -> None:
    """And so is one with another account than the ARN's."""
    with pytest.raises(ValueError, match="no ARN of a caller"):
        parse_caller(arn, account)
