"""Files from the Hugging Face hub, or a quick answer that they cannot be had.

Its library takes a while to import, and is left to those who need a file.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from lpwd.config.errors import first_line

PATIENCE = 5.0  # seconds for the hub's first answer


class HubError(OSError):
    """The hub did not give the file; the message says why."""


def fetch(repo: str, filename: str, repo_type: str = "model") -> Path:
    """A file of a hub repository, from the local cache if it is there.

    Honours ``HF_HUB_OFFLINE``, ``HF_ENDPOINT``, ``HF_HOME`` and proxies; shows progress.

    Raises:
        HubError: it is not cached, and the hub is out of reach or does not have it.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    if cached := check(repo, filename, repo_type):
        return cached
    try:
        return Path(hf_hub_download(repo, filename, repo_type=repo_type))
    except (HfHubHTTPError, OSError) as error:
        raise HubError(f"{repo}/{filename}: {first_line(error)}") from None


def check(repo: str, filename: str, repo_type: str = "model") -> Path | None:
    """The file in the local cache; None if it is not there, but the hub can be asked for it.

    Raises:
        HubError: it is not cached, and the hub is out of reach.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    cached = try_to_load_from_cache(repo, filename, repo_type=repo_type)
    if isinstance(cached, str):
        return Path(cached)
    if constants.HF_HUB_OFFLINE:
        raise HubError(f"{repo} is not cached and HF_HUB_OFFLINE is set")
    _probe(constants.ENDPOINT)
    return None


def _probe(endpoint: str) -> None:
    """Ask the hub once: its own client tries for the better part of a minute."""
    if not endpoint.startswith(("http://", "https://")):
        raise HubError(f"HF_ENDPOINT={endpoint} must begin with https://")
    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        urllib.request.urlopen(request, timeout=PATIENCE).close()
    except urllib.error.HTTPError as error:
        if error.code >= 500:  # any other answer, even a refusal, shows that it can be reached
            raise HubError(f"{endpoint} answers with {error}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if not isinstance(reason, ssl.SSLCertVerificationError):  # the client has its own trust
            raise HubError(f"{endpoint} cannot be reached ({reason})") from None
