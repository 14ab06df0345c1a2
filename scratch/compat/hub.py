"""A part or a pipeline as a repository on the Hub, in the layout that Diffusers reads."""

import tempfile
from collections.abc import Callable
from pathlib import Path


def push(
    save: Callable[[Path], None],
    repo_id: str,
    commit_message: str | None,
    private: bool | None,
    token: str | None,
) -> str:
    """Upload what `save` writes into a folder, as one commit; files that are there stay.

    Args:
        save: such as `pipeline.save_pretrained`.
        repo_id: `owner/name`, made if it is not there.
        commit_message: None for one that says what this is.
        private: of a new repository; None for the owner's default.
        token: None for the one that `hf auth login` keeps.

    Returns:
        The address of the commit.

    Raises:
        ValueError: the Hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder))
        api = HfApi(token=token)
        try:
            name = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            commit = api.upload_folder(
                repo_id=name,
                folder_path=folder,
                commit_message=commit_message or "Upload weights and configs",
            )
        except Exception as error:  # the Hub's client raises a dozen kinds, by version
            why = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{repo_id!r} could not be written on the Hub ({type(error).__name__}: {why}); "
                "check the name, the network and `hf auth login`"
            ) from None
    return str(commit.commit_url)
