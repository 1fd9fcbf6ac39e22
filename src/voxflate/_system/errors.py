"""The exceptions that the command line turns into one line."""


class VoxflateError(Exception):
    """Something the user can mend: bad input, a bad setting, a full disk.

    The message is one line that names the file, the value, the limit and the next step. The command
    line prints it without a traceback and exits with status 2.
    """


class TrainingStopped(Exception):
    """A training ended early because it was asked to; no mistake, and nothing is lost.

    Args:
        n_images: Images shown by the snapshot that it goes on from; None where it had not begun.
    """

    def __init__(self, n_images: int | None) -> None:
        super().__init__(f"stopped after {n_images} images")
        self.n_images = n_images
