"""What a person needs of an error that came up while flags and a config file were read."""

from absl import flags

_QUOTES = "'\""


def explain(error: BaseException) -> str:
    """Returns one line that says what is wrong.

    A config file's own error arrives as text with a traceback in it; what was raised first says
    what was wrong.
    """
    message = str(error.args[0]) if error.args else type(error).__name__
    if "no attribute 'get_config'" in message:
        return "the --config file has no function get_config"
    if isinstance(error, (AttributeError, KeyError)):
        # ConfigDict's, which quotes itself: `'learnin_rate'\nDid you mean "learning_rate" …`
        key, _, hint = message.replace("\\'", "'").replace("\\n", "\n").strip("'").partition("\n")
        return f"the config has no key '{key.strip(_QUOTES)}'" + (f". {hint}" if hint else "")
    if isinstance(error, OSError):
        return "there is no such --config file; configs/ has one for each family, and digits.py"
    if isinstance(error, (flags.Error, ValueError, TypeError)) and "Traceback" not in message:
        return message
    # the first ValueError below what absl and ml_collections make of it, or else the innermost
    while not _is_plain(error) and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__ or error
    if isinstance(error, ValueError):
        return str(error)
    return f"the config file fails with {type(error).__name__}: {error}"


def _is_plain(error: BaseException) -> bool:
    return isinstance(error, ValueError) and "Traceback" not in str(error)
