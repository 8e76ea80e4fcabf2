"""``GET /v1/models`` and ``/v1/models/{id}``."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from deployments.ingress.http import answers
from deployments.ingress.http.state import service_of
from deployments.ingress.service import TranscriptionService
from npu_encoder.weights import MODEL_FILE


async def list_models(request: Request) -> Response:
    service = service_of(request)
    return answers.MODEL_LIST.response({"object": "list", "data": [_model(service, name) for name in service.names]})


async def retrieve_model(request: Request) -> Response:
    service = service_of(request)
    name = request.path_params["model"]
    service.require_model(name)
    return answers.MODEL.response(_model(service, name))


def _model(service: TranscriptionService, name: str) -> answers.Model:
    model = service.model
    return {
        "id": name,
        "object": "model",
        "created": int((model.path / MODEL_FILE).stat().st_mtime),
        "owned_by": "amanuensis",
        "serves": model.name,
        "languages": list(model.languages),
        "translates": model.multilingual,
        "notice": model.notice,
    }
