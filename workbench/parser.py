"""The parser of every command line here: an error is one line, an empty word is one."""

import argparse
import sys
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and whose help keeps its line breaks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kept = {
            "formatter_class": argparse.RawDescriptionHelpFormatter,
            "allow_abbrev": False,
        }
        super().__init__(*args, **{**kept, **kwargs})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuses an empty or unknown argument where it stands: the error points to its verb.

        No option means anything by an empty word: a variable of a script was not set.
        """
        words = sys.argv[1:] if args is None else list(args)
        known, unknown = super().parse_known_args(words, namespace)
        for before, word in zip([self.prog, *words], words, strict=False):
            option, has_value, value = word.partition("=")
            if not word.strip() or (option.startswith("-") and has_value and not value.strip()):
                self.error(f"nothing is given after {option.strip() or before}")
        if unknown:
            self.error(f"unknown argument {unknown[0]}")
        return known, unknown

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")
