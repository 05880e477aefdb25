"""A group whose first command need not be named."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class RunByDefault(TyperGroup):
    """`persam album CONCEPT PHOTOS` is `persam album run CONCEPT PHOTOS`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Options before any command are of `run`."""
        if args and args[0].startswith("-") and args[0] not in ("-h", "--help"):  # the group has no options of its own
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that was named; files, if none was."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["run", *args])
