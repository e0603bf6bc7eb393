"""What an address of Ray means, before anybody is asked there."""

import re

from qdllm.addresses import bare
from qdllm.errors import ConfigError
from qdllm.messages import cut
from qdllm.visible import visible

WORDS = ("auto", "local", "none")
LARGEST_PORT = 65535
_HOST = re.compile(r"[\w.-]{1,253}|\[[\da-fA-F:.]+\]")


def address(given: str) -> str:
    """The address, if it can be one. Raises ConfigError otherwise.

    host:port of a cluster's head, or one of WORDS: `auto` on a cluster's node, `local` for a Ray of
    one's own, `none` for no Ray at all.
    """
    host, _, port = given.rpartition(":")
    numbered = re.fullmatch(r"\d{1,5}", port, re.ASCII) and 0 < int(port) <= LARGEST_PORT
    if given not in WORDS and not (numbered and _HOST.fullmatch(host)):
        raise ConfigError(
            f"no cluster can be used at {cut(visible(bare(given)))} (it is no host:port): "
            "--address or RAY_ADDRESS name the host:port of a cluster's head; auto, on one of its "
            "nodes; local, for a Ray of the sweep's own; or none, for all in one process"
        )
    return given
