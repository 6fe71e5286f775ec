"""The one file of prices: list prices of AWS in USD, before any free tier.

What is said anywhere of money, by the page, `moorage usage` or docs/cost.md, comes from here. This
module must never hold an assumption: those are in bench/cost.py.
"""

REGION, PRICED_ON = "us-east-1", "2026-11-24"
GATEWAY_REQUEST = 3.50 / 1e6
"""API Gateway, REST API, the first 333 million a month."""
LAMBDA_REQUEST = 0.20 / 1e6
LAMBDA_GB_SECOND = 0.0000133334
"""On arm64."""
S3_GB_MONTH = 0.023
"""Standard, the first 50 TB."""
S3_WRITE = 0.005 / 1e3
"""PUT, COPY, POST and LIST; deleting and aborting are free."""
S3_READ = 0.0004 / 1e3
DYNAMODB_WRITE = 0.625 / 1e6
"""On demand; so is reading."""
DYNAMODB_READ = 0.125 / 1e6
DYNAMODB_GB_MONTH = 0.25
RECOVERY_GB_MONTH = 0.20
"""Point-in-time recovery, for each GB of the table."""
LOGS_GB = 0.50
ECR_GB_MONTH = 0.10
"""A private repository."""
TRANSFER_TIERS = ((10_000, 0.09), (40_000, 0.085), (100_000, 0.07))
"""GB a month at each price, out to the internet: the same from S3 and from ECR."""
EDGE_REQUEST = 0.0100 / 1e4
"""CloudFront, by HTTPS, in North America and Europe; so are the next four."""
EDGE_FUNCTION = 0.10 / 1e6
"""An invocation; a request has two, one before the origin and one after."""
EDGE_KEY_READ = 0.03 / 1e6
"""A read of the KeyValueStore; a request has one."""
EDGE_TO_ORIGIN_GB = 0.020
"""Bodies of requests, to S3 and to API Gateway. What comes from them costs nothing."""
EDGE_TIERS = ((1_000, 0.0), (9_000, 0.085), (40_000, 0.080), (100_000, 0.060))
"""As TRANSFER_TIERS, out of CloudFront: the first terabyte of each month is always free."""


def stored_for_a_month(size: int) -> float:
    """Return what so many bytes in S3 cost a month, in USD."""
    return size / 1e9 * S3_GB_MONTH
