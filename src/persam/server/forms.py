"""Forms with files (multipart/form-data), described by pydantic models and read as they come.

What a form may hold stands in one model, which checks it and is its documentation. Files go straight to the service's
folder (`persam.server.uploads`), fields to memory, both counted; nothing waits in memory for its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar, get_origin

from fastapi import Request
from pydantic import BaseModel, ConfigDict, InstanceOf, ValidationError, WithJsonSchema
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from persam.server.refusals import MalformedError, Refused, TooLargeError
from persam.server.uploads import Upload, UploadFolder, Writing

_MOST_FIELDS = 200  # parts of a form that are no files
_WRITTEN_AT_ONCE = 1_000_000  # bytes
_LONGEST_NAME = 100  # characters of a field's name

File = Annotated[InstanceOf[Upload], WithJsonSchema({"type": "string", "contentMediaType": "application/octet-stream"})]
Files = list[File]


class FormModel(BaseModel):
    """A form: one attribute a field; lists are of fields that may be given several times."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, ser_json_inf_nan="null")


FormT = TypeVar("FormT", bound=FormModel)


@asynccontextmanager
async def read_form(
    request: Request, form: type[FormT], *, files: int, file_bytes: int | None = None
) -> AsyncIterator[FormT]:
    """Read a request's body as a form; its files are there while the block lasts, unless they were moved away.

    Args:
        request: whose body was not read yet.
        form: what it is to be.
        files: that it may have, all together.
        file_bytes: of one of them at most; by default what a photo may have.

    Raises:
        Refused: it is another form, or larger than it may be.
    """
    service = request.app.state.service
    limits, folder = service.settings.limits, service.uploads
    body = _Body(folder, files=files, file_bytes=file_bytes or limits.photo_bytes, field_bytes=limits.field_bytes)
    try:
        await asyncio.to_thread(folder.count)
        await body.read(request)
        yield _checked(form, body.items)
    finally:
        await asyncio.to_thread(body.drop)


@asynccontextmanager
async def read_file(request: Request, name: str, *, file_bytes: int) -> AsyncIterator[Upload]:
    """Read a request's body as the bytes of one file.

    Args:
        request: whose body was not read yet.
        name: of the file.
        file_bytes: that it may have.

    Raises:
        Refused: it is larger than it may be.
    """
    folder = request.app.state.service.uploads
    writing = Writing(folder.new(name), folder, file_bytes)
    try:
        await asyncio.to_thread(folder.count)
        async for chunk in request.stream():
            writing.add(chunk)
            if writing.waiting >= _WRITTEN_AT_ONCE:
                await asyncio.to_thread(writing.write)
        upload = writing.end()
        await asyncio.to_thread(writing.write)
        yield upload
    finally:
        await asyncio.to_thread(writing.drop)


def form_docs(form: type[FormModel], example: str = "") -> dict[str, Any]:
    """What OpenAPI says of a route that reads a form, for its ``openapi_extra``."""
    schema = form.model_json_schema()
    content = {"schema": schema}
    description = f"For example:\n\n```sh\n{example}\n```" if example else ""
    return {"requestBody": {"required": True, "description": description, "content": {"multipart/form-data": content}}}


class _Body:
    """What came so far of a form."""

    def __init__(self, folder: UploadFolder, *, files: int, file_bytes: int, field_bytes: int) -> None:
        self.items: list[tuple[str, str | Upload]] = []
        self._folder, self._most_files, self._file_bytes = folder, files, file_bytes
        self._room, self._field_bytes = field_bytes, field_bytes
        self._files: list[Writing] = []
        self._unwritten: list[Writing] = []
        self._fields = 0
        self._header = self._value = b""
        self._disposition = b""
        self._name = ""
        self._text: bytearray | None = None
        self._ended = False

    async def read(self, request: Request) -> None:
        parser = MultipartParser(_boundary(request), self._callbacks())  # type: ignore[arg-type]
        try:
            async for chunk in request.stream():
                parser.write(chunk)
                if sum(each.waiting for each in self._unwritten) >= _WRITTEN_AT_ONCE:
                    await asyncio.to_thread(self._write)
            parser.finalize()
        except FormParserError as error:
            raise Refused("The form is damaged, or its boundary is not the one that its header names.") from error
        if not self._ended:
            raise Refused("The form ends before its end; send it again.")
        await asyncio.to_thread(self._write)

    def _write(self) -> None:
        for each in self._unwritten:
            each.write()
        self._unwritten = [each for each in self._unwritten if not each.is_written]

    def drop(self) -> None:
        for each in self._files:
            each.drop()

    def _callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._on_part,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _on_part(self) -> None:
        self._disposition, self._text = b"", None

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _on_headers(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise Refused(
                "A part of the form has no name; send fields and files with `Content-Disposition: form-data`."
            )
        self._name = _decoded(options[b"name"], "The name of a field")
        if len(self._name) > _LONGEST_NAME:
            raise Refused(
                f"The name of a field is longer than {_LONGEST_NAME} characters; see /docs for those there are."
            )
        if b"filename" not in options:
            self._fields += 1
            if self._fields > _MOST_FIELDS:
                raise TooLargeError(f"The form has more than {_MOST_FIELDS} fields; send fewer.")
            self._text = bytearray()
            return
        if len(self._files) >= self._most_files:
            raise TooLargeError(f"The form has more than {self._most_files} files; send them in several requests.")
        filename = options[b"filename"].decode("utf-8", "replace")
        self._files.append(Writing(self._folder.new(filename), self._folder, self._file_bytes))
        self._unwritten.append(self._files[-1])

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._text is None:
            self._files[-1].add(data[start:end])
            return
        self._room -= end - start
        if self._room < 0:
            raise TooLargeError(
                f"The form's fields have more than {self._field_bytes} bytes; photos and masks are sent as files."
            )
        self._text += data[start:end]

    def _on_part_end(self) -> None:
        if self._text is None:
            self.items.append((self._name, self._files[-1].end()))
        else:
            self.items.append((self._name, _decoded(bytes(self._text), f"The field {self._name}")))

    def _on_end(self) -> None:
        self._ended = True


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        refused = Refused("This takes a form with files; send it as multipart/form-data (curl -F does).")
        refused.status = 415
        raise refused
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= 70:
        raise Refused("The header Content-Type of a form names its boundary, 1 to 70 characters; this one does not.")
    return boundary


def _decoded(data: bytes, what: str) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Refused(f"{what} is not UTF-8; send text in UTF-8.") from error
    if "\0" in text:
        raise Refused(f"{what} holds a zero byte; send text.")
    return text


def _checked(form: type[FormT], items: Sequence[tuple[str, str | Upload]]) -> FormT:
    values: dict[str, Any] = {}
    for name, value in items:
        field = form.model_fields.get(name)
        if field is None:
            known = ", ".join(form.model_fields)
            raise MalformedError(f"There is no field {name!r} here; the fields are {known}.")
        if get_origin(field.annotation) is list:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise MalformedError(f"The field {name} is given twice; once is enough.")
        else:
            values[name] = value
    try:
        return form.model_validate(values)
    except ValidationError as error:
        raise MalformedError(sentence_of(error.errors())) from error


def sentence_of(problems: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with a request, as pydantic found it, in one sentence: the first of it."""
    first = problems[0]
    parts = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header", "cookie")]
    names = [part for part in parts if not part.isdecimal()]
    name = ".".join(names)
    kind, words = first["type"], str(first["msg"])
    if kind == "missing":
        return f"The field {name} is missing; see /docs for what this takes." if name else "The request has no body."
    if kind == "is_instance_of":
        return f"The field {name} is a file; send it as one (curl -F {name}=@FILE)."
    if kind == "string_type" and isinstance(first.get("input"), Upload):
        return f"The field {name} is text, not a file; send it without a file's name."
    if kind == "json_invalid":
        return f"The body is no JSON that can be read ({words.rstrip('.')})."
    if kind == "value_error":
        words = str(first.get("ctx", {}).get("error", words))
    words = words.partition(", unable to")[0].rstrip(".")  # Python's way of reading is nobody's business
    return f"The field {name} does not fit: {words[:1].lower()}{words[1:]}." if name else f"{words}."
