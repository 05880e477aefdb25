"""The documentation of the service as one page that needs nothing from elsewhere, made from its OpenAPI description."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from persam.reports.page import render

EXAMPLE = "http://127.0.0.1:8000"  # where examples ask
_METHODS = ("get", "post", "put", "delete")
_CODE = re.compile(r"`([^`]*)`")
_NUMBERS = re.compile(r"\[\s*([^][{}]{1,60}?)\s*\]")


@dataclass(frozen=True)
class FieldDoc:
    """One thing that a route takes.

    Attributes:
        name, words: what it is called, and what it is.
        kind: of value, in a word or two.
        where: path, query or form.
        is_needed: whether it has to be there.
    """

    name: str
    kind: str
    words: str
    where: str
    is_needed: bool


@dataclass(frozen=True)
class RouteDoc:
    """One thing that the service does.

    Attributes:
        method, path: how it is asked for.
        title, words: what it does, as HTML.
        fields: what it takes.
        how: an example of asking, in Markdown of one block of code; or "".
        answers: status and what it means, as HTML.
        example: an answer, as JSON text; or "".
    """

    method: str
    path: str
    title: Markup
    words: Markup
    fields: tuple[FieldDoc, ...]
    how: str
    answers: tuple[tuple[str, Markup], ...]
    example: str

    @property
    def anchor(self) -> str:
        """Where it stands on the page."""
        return f"{self.method.lower()}-{self.path.strip('/').replace('/', '-').replace('{', '').replace('}', '')}"


def docs_page(openapi: Mapping[str, Any], address: str = EXAMPLE) -> str:
    """The page, HTML.

    Args:
        openapi: the application's description of itself.
        address: under which it was asked for, for the examples.
    """
    groups: dict[str, list[RouteDoc]] = {}
    for path, operations in openapi["paths"].items():
        for method in _METHODS:
            if method in operations:
                tags = operations[method].get("tags") or ["more"]
                groups.setdefault(tags[0], []).append(_route(openapi, method, path, operations[method], address))
    about = openapi["info"]
    return render("server/docs.html.j2", title=about["title"], version=about["version"], groups=groups)


def _route(openapi: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any], address: str) -> RouteDoc:
    words, body = operation.get("description", ""), operation.get("requestBody", {})
    answers = operation.get("responses", {})
    return RouteDoc(
        method.upper(),
        path,
        _marked(words.partition("\n")[0].rstrip(".") or operation.get("summary", "")),
        _marked(words.partition("\n")[2].strip()),
        (*_parameters(operation.get("parameters", ())), *_body_fields(openapi, body)),
        body.get("description", "").partition("```sh\n")[2].partition("\n```")[0].replace(EXAMPLE, address),
        tuple((status, _marked(answer.get("description", ""))) for status, answer in sorted(answers.items())),
        _example(openapi, answers),
    )


def _parameters(parameters: Sequence[Mapping[str, Any]]) -> Iterator[FieldDoc]:
    for each in parameters:
        schema = each.get("schema", {})
        yield FieldDoc(
            each["name"], _kind(schema), each.get("description", ""), each["in"], bool(each.get("required", False))
        )


def _body_fields(openapi: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[FieldDoc]:
    for kind, content in body.get("content", {}).items():
        schema = _resolved(openapi, content.get("schema", {}))
        where = "form" if kind == "multipart/form-data" else kind
        if "properties" not in schema:
            yield FieldDoc("the body", "bytes" if schema.get("format") == "binary" else _kind(schema), "", where, True)
        for name, field in schema.get("properties", {}).items():
            resolved = _resolved(openapi, field)
            is_needed = name in schema.get("required", ())
            yield FieldDoc(name, _kind(resolved), resolved.get("description", ""), where, is_needed)


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        words = ", ".join(map(str, schema["enum"]))
    elif schema.get("type") == "array":
        return f"{_kind(schema.get('items', {}))}, several"
    elif "contentMediaType" in schema or schema.get("format") == "binary":
        words = "file"
    elif "anyOf" in schema:
        words = " or ".join(_kind(each) for each in schema["anyOf"] if each.get("type") != "null")
    else:
        words = {"string": "text", "integer": "whole number", "boolean": "true or false"}.get(
            str(schema.get("type")), str(schema.get("type", "JSON"))
        )
    default = schema.get("default")
    return words if default in (None, [], "") else f"{words}; default {json.dumps(default)}".replace('"', "")


def _example(openapi: Mapping[str, Any], answers: Mapping[str, Any]) -> str:
    for status, answer in answers.items():
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        if status.startswith("2") and schema is not None:
            is_list = schema.get("type") == "array"
            example = _resolved(openapi, schema["items"] if is_list else schema).get("example")
            if example is not None:
                return _short(json.dumps([example] if is_list else example, indent=2, ensure_ascii=False))
    return ""


def _marked(text: str) -> Markup:
    """A text with code between backticks, as HTML."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(Markup.escape(text))))  # noqa: S704 - escaped just now


def _short(text: str) -> str:
    """JSON in which short lists stand in one line."""
    return _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)


def _resolved(openapi: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference within the description leads to."""
    if "$ref" not in schema:
        return schema
    found: Any = openapi
    for part in str(schema["$ref"]).removeprefix("#/").split("/"):
        found = found[part]
    resolved: Mapping[str, Any] = found
    return resolved
