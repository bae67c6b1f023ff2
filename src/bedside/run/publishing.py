"""A folder of a run on the Hugging Face hub: only where somebody asks for it by name, and private at first."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bedside.core.errors import ConfigError

TOKEN = "HF_TOKEN"
"""The environment variable that holds the hub's token, unless another is named."""


def push(folder: Path, repo: str, token_env: str, secret: Callable[[str], str | None], hub: Any = None) -> str:
    """Upload every file of ``folder`` to ``repo``, which is made, private, where there is none. Returns its address.

    ConfigError without a token, and with what the hub says where it refuses. ``hub``: an HfApi; by default the hub's.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    token = (secret(token_env) or "").strip()
    if not token:
        raise ConfigError(f"the environment variable {token_env} is not set; export a token that may write to {repo}")
    hub = hub or HfApi()
    try:
        hub.create_repo(repo, private=True, exist_ok=True, token=token)
        done = hub.upload_folder(
            repo_id=repo, folder_path=folder, token=token, commit_message="Upload what Bedside released"
        )
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError) as error:
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0].replace(token, "[token]")
        raise ConfigError(f"{repo}: the hub refused ({cause}); check the name, the token and the network") from None
    return str(getattr(done, "commit_url", "") or f"https://huggingface.co/{repo}")
