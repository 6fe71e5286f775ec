"""The tails that an open session leaves behind: a bounded number, however it is written to."""

from __future__ import annotations

import pytest

from chalicelib.digest import Digest
from chalicelib.errors import UploadDigestInvalidError
from chalicelib.registry.bytestore import TAIL_WINDOW
from chalicelib.registry.service import Limits
from chalicelib.registry.session import Owner
from tests.support.registries import registry_in_memory

OWNER = Owner("team/app", "ann")


@pytest.mark.parametrize("refusals", [0, 1, 2, 20])
def test_superseded_tails_go_while_the_session_lives(refusals: int) -> None:
    """Chunk upon chunk, with so many refused PUTs after each, a window of them at most is there.

    Each PUT takes a lease too: it is not the chunks that the windows count.
    """
    memory = registry_in_memory(Limits(part_minimum=1000))
    uploads, deadline = memory.registry.uploads, memory.clock.now() + 999
    session, most = uploads.start("team/app", "ann"), 0
    for _ in range(4 * TAIL_WINDOW):
        session = uploads.append(OWNER, session.id, b"x", session.offset, deadline)
        most = max(most, len(memory.objects.objects))
        for _ in range(refusals):
            with pytest.raises(UploadDigestInvalidError):
                uploads.commit(OWNER, session.id, Digest.of(b"wrong"), b"", None, deadline)
    assert most <= TAIL_WINDOW + 1
    whole = b"x" * session.offset
    uploads.commit(OWNER, session.id, Digest.of(whole), b"", None, deadline)
    assert list(memory.objects.objects.values()) == [whole]
