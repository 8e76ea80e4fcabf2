"""``/docs``: the OpenAPI document as a page of plain HTML."""

from __future__ import annotations

import html
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from deployments.ingress.http.answers import OpenApiDocument
from deployments.ingress.http.documentation import openapi

Json = dict[str, Any]

STYLE = (
    "body{font:16px/1.5 system-ui;max-width:60em;margin:2em auto;padding:0 1em}"
    "td{padding:.2em 1em .2em 0;vertical-align:top}code{background:#f3f3f3;padding:0 .3em}"
)


async def docs(_: Request) -> Response:
    """Answer with the page."""
    return HTMLResponse(_page(openapi()))


def _page(document: OpenApiDocument) -> str:
    operations = "".join(
        _operation(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    schemas = "".join(_schema(name, schema) for name, schema in document["components"]["schemas"].items())
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Amanuensis API</title><style>{STYLE}</style>"
        f"<h1>Amanuensis {_text(document['info']['version'])}</h1><p>{_text(document['info']['description'])} "
        f"<a href=/openapi.json>openapi.json</a></p>{operations}<h2>What is sent and answered</h2>{schemas}</html>"
    )


def _operation(path: str, method: str, operation: Json) -> str:
    responses = "".join(
        f"<tr><td>{status}</td><td>{_text(response['description'])}</td><td>{_content(response['content'])}</td></tr>"
        for status, response in operation["responses"].items()
    )
    asked = _content(operation["requestBody"]["content"]) if "requestBody" in operation else ""
    return (
        f"<h2><code>{method.upper()} {path}</code></h2><p>{_text(operation['summary'])}. "
        f"{_text(operation.get('description', ''))} {asked}</p><table>{responses}</table>"
    )


def _content(content: Json) -> str:
    return "<br>".join(f"{_text(media_type)}: {_kind(body['schema'])}" for media_type, body in content.items())


def _schema(name: str, schema: Json) -> str:
    fields = "".join(
        f"<tr><td><code>{field}</code></td><td>{_kind(kind)}</td><td>{_text(kind.get('description', ''))}</td></tr>"
        for field, kind in schema["properties"].items()
    )
    return f"<h3 id={name}>{name}</h3><p>{_text(schema.get('description', ''))}</p><table>{fields}</table>"


def _kind(schema: Json) -> str:
    """Return the values that a schema allows, in HTML."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"<a href=#{name}>{name}</a>"
    if "anyOf" in schema:
        return " | ".join(map(_kind, schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(f"<code>{html.escape(str(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{html.escape(str(schema['const']))}</code>"
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    return html.escape(str(schema.get("format") or schema.get("type", "anything")))


def _text(markdown: str) -> str:
    """Escape the words, and show `code` as code."""
    parts = html.escape(markdown.replace("``", "`")).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))
