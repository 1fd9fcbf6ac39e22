"""The exceptions that the command line prints as one line."""

USER_ERROR = 2
"""Exit status of a problem that the user can solve."""


class VoxflateError(Exception):
    """A problem that the user can solve: bad input, a bad setting, a full disk.

    The message is one line that names the file, the value, the limit and the next step. The command
    line prints it without a traceback and exits with status 2.
    """


class WriteError(VoxflateError):
    """A write that the system refused: a full disk, a folder without permission."""


class TrainingStopped(Exception):
    """Training ended early on request; nothing is lost.

    Args:
        n_images: Images shown by the snapshot to resume from; None if training had not started.
    """

    def __init__(self, n_images: int | None) -> None:
        super().__init__(f"stopped after {n_images} images")
        self.n_images = n_images
