"""The one exception a user's mistake may raise."""


class VoxflateError(Exception):
    """Something the user can mend: bad input, a bad setting, a full disk.

    The message is one line that names the file, the value, the limit and the next step. The command
    line prints it without a traceback and exits with status 2.
    """
