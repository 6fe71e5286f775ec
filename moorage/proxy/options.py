"""The options of `moorage proxy`, and its limits."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from chalicelib.limits import MIB
from moorage.common.http_server import Pace
from moorage.proxy.direct_stream import PartPlan
from moorage.proxy.ranged_pulls import PullPlan

# Twice as patient as the gateway: a client may compress a layer while it sends it.
_PACE = Pace(idle=120.0, slow=120.0)


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """Where the proxy listens, and the registry behind it; sizes in bytes, times in seconds."""

    upstream: str
    """The registry's address, as `upstream_origin` reads it."""
    host: str = "127.0.0.1"
    port: int = 5000
    allow_hosts: Sequence[str] = ()
    """Hosts that it answers to beside those of this machine."""
    chunk_size: int = 4 * 1024 * 1024
    patience_seconds: float = 90.0
    """How long an upload may go without progress; a lease upstream lasts 34 s at most."""
    pace: Pace = _PACE
    """How slow clients may be."""
    uploads: int = 64
    """How many bodies are cut at once, each with two chunks in memory; the rest wait unread."""
    memory_bytes: int = 256 * MIB
    """How much of blobs is held until S3 has it; beyond, they are sent in chunks."""
    plan: PartPlan = field(default_factory=PartPlan)
    pull_streams: int = 4
    """How many connections bring a large blob from S3; with 1 clients follow the redirect."""
    pull_plan: PullPlan = field(default_factory=PullPlan)
