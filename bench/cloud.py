"""How fast S3, DynamoDB and Lambda are taken to be, wherever a measurement stands in for AWS.

Every figure is here once, with its source: the benchmark and every simulation read it here. Nobody
has measured Moorage on AWS yet. Latencies are shorter than AWS documents them, which favours a
registry that makes many requests.
"""

from __future__ import annotations

S3_REQUEST_SECONDS = 0.030
"""What each request to S3 takes besides its bytes.

The S3 User Guide ("Best practices design patterns: optimizing Amazon S3 performance") gives roughly
100 to 200 ms for small objects and first bytes. This is a third of that, as on a good day.
"""

DYNAMODB_REQUEST_SECONDS = 0.006
"""What each request to DynamoDB takes.

The DynamoDB Developer Guide ("Understanding Amazon DynamoDB latency") says single-digit
milliseconds for operations on one item, and more for transactions, which are taken alike here.
"""

DYNAMODB_READ_BYTES_PER_SECOND = 10e6
"""What one request after the other reads of a table, besides: a Scan's or Query's page of 1 MB.

AWS documents none: assumed.
"""

FUNCTION_PROCESSORS = 1024 / 1769
"""The share of a processor that a function of 1,024 MB has.

The Lambda Developer Guide ("Configure Lambda function memory"): 1,769 MB are one whole.
"""

STREAM_BYTES_PER_SECOND = 80e6
"""What one request to S3 carries, either way.

The S3 User Guide ("Performance design patterns for Amazon S3", on horizontal scaling) reckons with
one request at a time for each 85 to 90 MB/s that are wanted.
"""

COPY_BYTES_PER_SECOND = 80e6
"""What one CopyObject or UploadPartCopy copies inside S3.

AWS documents none: it is taken to be a stream's.
"""

VERIFY_WORKERS = 64
"""Segments of one blob that are read and hashed at once.

Lambda's quota is 1,000 executions at once for an account and region, but new accounts have far
fewer (the Lambda Developer Guide, "Lambda quotas").
"""

WORKER_START_SECONDS = 1.0
"""From the invocation of a function to its first line, where the process is a new one.

As in docs/cost.md: assumed, from the cold starts of docs/coldstart.md on a slower processor.
"""

INVOKE_SECONDS = 0.015
"""From the call of a function to its first line, where a process waits for one: assumed."""

FUNCTION_BURST_BYTES = 300 * 2**20
"""What a function receives as fast as its streams carry it, before its network is held back.

Measured, for AWS gives no figure: Bodner and others, "An Empirical Evaluation of Serverless Cloud
Infrastructure for Large-Scale Data Processing" (2025), section 4.2.
"""

FUNCTION_BYTES_PER_SECOND = 75 * 2**20
"""What a function receives from then on, with all its streams together: from the same section."""

FUNCTION_HASH_BYTES_PER_SECOND = 400e6
"""What a function of 1,024 MB hashes, with all its streams together.

Assumed: half of what one core of a development machine does (``python -m bench.hashing``), for such
a function has 0.58 of a processor.
"""

COMPLETE_SECONDS_PER_PART = 0.001
"""What S3 takes for each part when it puts an object together, besides the request.

The S3 API Reference ("CompleteMultipartUpload") says that it can take several minutes, and no more:
this is assumed.
"""

WORKER_SECONDS = 900
"""The longest that one invocation may last (the Lambda Developer Guide, "Lambda quotas")."""


def s3_seconds(size: int = 0) -> float:
    """Return how long one request to S3 takes that carries `size` bytes."""
    return S3_REQUEST_SECONDS + size / STREAM_BYTES_PER_SECOND


def copy_seconds(size: int) -> float:
    """Return how long one copy of `size` bytes inside S3 takes."""
    return S3_REQUEST_SECONDS + size / COPY_BYTES_PER_SECOND
