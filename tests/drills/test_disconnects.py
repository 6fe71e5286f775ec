"""Clients that stop, trickle, lie, pipeline or never read harm no server and no upload."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from tests.drills import disconnects
from tests.drills.support.hostile.stack import running

MIB = 1 << 20
CHUNK = MIB // 4
SIZE = 350_000
SECONDS = float(os.environ.get("MOORAGE_ATTACK_SECONDS", "2"))
"""How long the attack lasts; `make drills` attacks for 5 seconds."""
GROWTH = 150 * MIB
"""How much an attack may cost a server: some chunks of each client, or one large answer."""


def test_servers_stay_bounded_and_uploads_resume_under_attack() -> None:
    """Memory, threads and files are bounded, others are served, and Range says what is kept."""
    # Small chunks, so that more uploads have one that is kept.
    with running(proxy_options=("--chunk-size", str(CHUNK))) as stack:
        gateway = disconnects.Server(
            "gateway", urlsplit(stack.gateway.url).netloc, stack.gateway.pid
        )
        proxy = disconnects.Server("proxy", urlsplit(stack.proxy).netloc, stack.proxy_pid)
        watched, uploads = disconnects.attack([gateway, proxy], SIZE, seconds=SECONDS, seed=29)
        judged = disconnects.judge(uploads)
        for seen in watched:
            after = seen.settled()
            print(f"{seen.server.name}: {seen.before}; at worst {seen.worst}; then {after}")
            print(f"{seen.server.name}: {seen.pushes} pushes meanwhile")
            assert seen.pushes >= 3, "others were not served"
            assert seen.growth < GROWTH
            assert seen.worst.threads <= seen.before.threads + 8
            assert after.files <= seen.before.files + disconnects.POOLED
    for upload, kept in judged:
        whole = {0, SIZE} if upload.server is gateway else {0, CHUNK, SIZE}
        # One sends more than it announced: what it announced is a whole body, and is kept.
        assert kept in whole or upload.name.startswith("sends_more"), (upload.name, kept)
