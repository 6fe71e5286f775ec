"""infra/edge.yaml: what CloudFront is told, and what of it the function relies on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.infra.intrinsics import Stack, decided
from tests.infra.templates import API, DATA
from tests.support.edge import CODE, DISTRIBUTION, EDGE, download, upload

CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
ALL_BUT_HOST = "b689b0a8-53d0-40ab-baf2-68738e2966ac"
METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
GIVEN = {"DomainName": "r.example.com", "CertificateArn": "arn:c", "HostedZoneId": "Z1"}


def config(**given: str) -> dict[str, Any]:
    """Return the distribution of a stack with these parameters."""
    found = decided(EDGE, given)["Distribution"]["Properties"]["DistributionConfig"]
    return dict(found)


def test_every_behaviour_runs_the_function_on_both_events() -> None:
    """A path that had it on one alone would be open, or answered by S3's own 200."""
    behaviours = [config()["DefaultCacheBehavior"], *config()["CacheBehaviors"]]
    for each in behaviours:
        arn = {"Fn::GetAtt": ["Function", "FunctionARN"]}
        assert each["FunctionAssociations"] == [
            {"EventType": "viewer-request", "FunctionARN": arn},
            {"EventType": "viewer-response", "FunctionARN": arn},
        ]
        assert each["ViewerProtocolPolicy"] == "https-only"
        # Go's clients lose Content-Length by compression.
        assert each["Compress"] is False


def test_requests_to_the_api_are_unchanged_and_not_cached() -> None:
    """All methods, all headers except Host, no cache."""
    default = config()["DefaultCacheBehavior"]
    assert set(default["AllowedMethods"]) == METHODS
    assert (default["CachePolicyId"], default["OriginRequestPolicyId"]) == (
        CACHING_DISABLED,
        ALL_BUT_HOST,
    )


def test_downloads_forward_nothing_and_are_cached_by_key() -> None:
    """No header, cookie or query is part of the key, or forwarded."""
    (downloads,) = config()["CacheBehaviors"]
    assert (downloads["TargetOriginId"], downloads["AllowedMethods"]) == ("bucket", ["GET", "HEAD"])
    assert "OriginRequestPolicyId" not in downloads
    policy = EDGE["Resources"]["Blobs"]["Properties"]["CachePolicyConfig"]
    assert downloads["CachePolicyId"] == {"Ref": "Blobs"}
    assert policy["ParametersInCacheKeyAndForwardedToOrigin"] == {
        "EnableAcceptEncodingGzip": False,
        "EnableAcceptEncodingBrotli": False,
        "CookiesConfig": {"CookieBehavior": "none"},
        "HeadersConfig": {"HeaderBehavior": "none"},
        "QueryStringsConfig": {"QueryStringBehavior": "none"},
    }


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        (download(f"sha256:{'a' * 64}"), "bucket"),
        (download(f"sha512:{'a' * 128}", place="blobs"), "bucket"),
        (upload(), "api"),
        (f"/v2/a/blobs/sha256:{'a' * 64}", "api"),
        ("/v2/a/manifests/sha256:a", "api"),
        ("/v2/", "api"),
        ("/direct/x", "api"),
    ],
)
def test_each_path_pattern_has_its_origin(path: str, origin: str) -> None:
    """The pattern is that of chalicelib's tickets."""
    assert DISTRIBUTION.behavior(path).origin == origin


def test_no_error_is_cached() -> None:
    """For every code that CloudFront would cache; it takes no other code in this list."""
    codes = {each["ErrorCode"] for each in config()["CustomErrorResponses"]}
    assert codes == {400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504}
    assert set(DISTRIBUTION.error_seconds.values()) == {0}


def test_requests_to_the_bucket_are_always_signed() -> None:
    """A client's signature is never used, and the host is that of the bucket's region."""
    access = EDGE["Resources"]["Access"]["Properties"]["OriginAccessControlConfig"]
    assert (access["SigningBehavior"], access["SigningProtocol"]) == ("always", "sigv4")
    origins = {each["Id"]: each for each in config()["Origins"]}
    assert origins["bucket"]["OriginAccessControlId"] == {"Fn::GetAtt": ["Access", "Id"]}
    names = Stack(
        {"DataStack": "d", "AWS::Region": "eu-west-1", "AWS::URLSuffix": "amazonaws.com"},
        {"d-BucketName": "b"},
    )
    assert names.resolved(origins["bucket"]["DomainName"]) == "b.s3.eu-west-1.amazonaws.com"
    assert origins["api"]["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"
    assert origins["api"]["CustomOriginConfig"]["OriginReadTimeout"] == 60
    assert "OriginAccessControlId" not in origins["api"]


def test_a_domain_brings_its_certificate_and_its_records() -> None:
    """Both of IPv4 and of IPv6; without a zone none, and without a domain CloudFront's name."""
    bare = decided(EDGE, {})
    assert config()["ViewerCertificate"] == {"CloudFrontDefaultCertificate": True}
    assert "Aliases" not in config()
    assert not {"Record", "RecordOfIPv6"} & set(bare)
    assert config(**GIVEN)["Aliases"] == [{"Ref": "DomainName"}]
    assert config(**GIVEN)["ViewerCertificate"]["MinimumProtocolVersion"] == "TLSv1.2_2021"
    records = decided(EDGE, GIVEN)
    types = [records[name]["Properties"]["Type"] for name in ("Record", "RecordOfIPv6")]
    assert types == ["A", "AAAA"]
    assert config()["IPV6Enabled"] is True


def test_imports_of_other_stacks_exist() -> None:
    """The data stack exports the bucket's name; names of CloudFront differ by region."""
    assert "BucketName" in DATA["Outputs"]
    assert "EdgeDistribution" in DATA["Parameters"]
    assert not {"EdgeDistribution"} & set(API["Parameters"])
    named = [
        EDGE["Resources"]["Store"]["Properties"]["Name"],
        EDGE["Resources"]["Function"]["Properties"]["Name"],
        EDGE["Resources"]["Access"]["Properties"]["OriginAccessControlConfig"]["Name"],
        EDGE["Resources"]["Blobs"]["Properties"]["CachePolicyConfig"]["Name"],
    ]
    assert named == [{"Fn::Sub": "${AWS::StackName}-${AWS::Region}"}] * 4


def test_the_function_names_the_origins_of_the_template() -> None:
    """By their ids, which are written in both."""
    assert DISTRIBUTION.origins == {"api", "bucket"}
    assert "selectRequestOriginById('bucket')" in CODE
    assert EDGE["Resources"]["Function"]["Properties"]["FunctionConfig"]["Runtime"] == (
        "cloudfront-js-2.0"
    )
