"""The limits of S3, DynamoDB and Lambda, and the codes by which AWS refuses what is too much.

Each stands here once, for rules and stores alike. This module must never hold a choice of
Moorage's own: those are in `chalicelib.registry.service` and `chalicelib.settings`.
Sources: S3 User Guide, "Amazon S3 multipart upload limits"; DynamoDB Developer Guide, "Quotas";
Lambda Developer Guide, "Lambda quotas".
"""

MIB = 1024 * 1024

PART_MINIMUM = 5 * MIB
"""Bytes of S3's smallest part, the last one excepted."""

PART_COUNT = 10_000
"""S3's most parts in one multipart upload, and its highest part number."""

PUT_MAXIMUM = 5 * 1024 * MIB
"""Most bytes that S3 takes in one PUT."""

S3_KEYS = 1000
"""Most entries of one page of an S3 list, and most keys of one DeleteObjects."""

BATCH_KEYS = 100
"""Most keys of one BatchGetItem."""

TRANSACTION_TAGS = 24
"""Most tags of one transaction, which takes 100 actions: four for each tag, three besides."""

LAMBDA_BODY = 4_700_000
"""Most bytes of a body that Lambda takes and returns: 6 MB less base64 and headers."""

THROTTLE_CODES = frozenset(
    {
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingError",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""Error codes of all services that mean: too many requests. A status of 429 means it, too."""
