"""What headers must look like under every engine that does no work."""

from __future__ import annotations

from chain.block import BlockHead
from chain.errors import InvalidBlock
from chain.header import VERSION


def check_without_work(block: BlockHead) -> None:
    """Raises InvalidBlock unless a header's fields for work are unused, and say nothing new."""
    header = block.header
    if header.bits or header.nonce:
        raise InvalidBlock("work-fields-set", "bits and nonce are zero where no work is done")
    if header.version != VERSION:
        raise InvalidBlock("bad-version", f"the version is {VERSION:#x}, always")
    if header.time_s != block.manifest.time_ms // 1000:
        raise InvalidBlock("times-differ", "the header's time is the manifest's, in seconds")
