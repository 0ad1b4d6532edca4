"""The OpenAPI document: valid, whole, and true to the server."""

from __future__ import annotations

from openapi_spec_validator import OpenAPIV31SpecValidator

from moot.node.rest.routes import ALWAYS, WRITING
from moot.node.rest.server import ROUTES
from tests.support.rest_api import DOCUMENT, Api


async def test_it_is_valid_and_the_one_that_the_node_serves(api: Api) -> None:
    served = (await api.get("/openapi.json")).value
    assert served == DOCUMENT
    OpenAPIV31SpecValidator(served).validate()
    assert served["openapi"].startswith("3.1")


def test_every_route_stands_in_it_with_its_errors() -> None:
    operations = [
        operation for methods in DOCUMENT["paths"].values() for operation in methods.values()
    ]
    assert len(operations) == len(ROUTES)
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for route in ROUTES:
        operation = DOCUMENT["paths"][route.path][route.method.lower()]
        assert operation["summary"].endswith("."), route.path
        listed = {int(status) for status in operation["responses"]}
        assert listed.issuperset(ALWAYS), route.path
        if route.method == "POST":
            assert listed.issuperset(WRITING) and "requestBody" in operation, route.path
        names = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"]
        assert names == [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
