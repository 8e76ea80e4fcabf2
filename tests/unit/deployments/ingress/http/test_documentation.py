"""The OpenAPI document is valid and says what is really served."""

from openapi_spec_validator import validate

from deployments.ingress.form import TranscriptionForm
from deployments.ingress.http.documentation import openapi
from deployments.ingress.http.routes import OPERATOR, PUBLIC, ROUTES

LIMITED = ("/v1/audio", "/inference", "/asr", "/detect-language")


def test_the_document_is_valid() -> None:
    validate(openapi())


def test_every_route_is_documented_and_every_documented_path_is_routed() -> None:
    routed = {
        (route.path.replace(":path", ""), method.lower())
        for route in ROUTES
        for method in route.methods or ()
        if method != "HEAD"
    }
    documented = {(path, method) for path, methods in openapi()["paths"].items() for method in methods}
    assert documented == routed


def test_every_field_of_the_form_is_documented() -> None:
    properties = openapi()["components"]["schemas"]["TranscriptionForm"]["properties"]
    assert set(properties) == {"file", *TranscriptionForm.model_fields}


def test_the_answers_to_a_missing_key_are_documented_where_a_key_is_needed() -> None:
    public, operator = ({route.path for route in routes} for routes in (PUBLIC, OPERATOR))
    for path, methods in openapi()["paths"].items():
        for operation in methods.values():
            assert ("401" in operation["responses"]) == (path not in public)
            assert ("403" in operation["responses"]) == (path in operator)
            assert ("429" in operation["responses"]) == path.startswith(LIMITED)
            assert (operation.get("security") == []) == (path in public)
