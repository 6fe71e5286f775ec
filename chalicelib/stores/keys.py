"""Every DynamoDB key, drawn here and nowhere else. This module must never do I/O.

Table `registry` (kept):
    REPO#<name>      BLOB#<digest>                   a link
                     MANIFEST#<digest>               a manifest
                     TAG#<tag>                       the digest it names
                     TAGGED#<digest>#<tag>           the way back from a manifest to its tags
                     REFERRER#<subject>#<digest>     what a referrers list shows
    BLOB#<digest>    RECORD                          the canonical key, size, links
    GARBAGE#<key>    RECORD                          a key to delete
    CATALOG          <name>                          a repository that holds, or held, a manifest

Table `uploads`: one item for each session, under its id; the index `sweep` holds those that still
need the sweeper, by the time at which they do.
"""
