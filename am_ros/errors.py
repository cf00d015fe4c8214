"""The one exception for input that a person can mend."""


class AmRosError(Exception):
    """Bad input: one clear sentence that names the file, parameter or topic.

    Command-line tools print the sentence and exit with 2; nodes log it and answer the request with it.
    """
