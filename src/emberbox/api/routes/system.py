"""Whether the service is well, what it measures, and what it runs on."""

from fastapi import APIRouter, Request, Response

from emberbox.api.auth import Operator, caller_of
from emberbox.api.parts import NodePart, TelemetryPart
from emberbox.api.problems import problem
from emberbox.api.requests import TEXT
from emberbox.api.statuses import STATUSES
from emberbox.api.views import answer
from emberbox.errors import NotReady, ServiceStopping
from emberbox.schemas.system import Health, Node, Readiness
from emberbox.service.ownership import is_operator
from emberbox.service.status.telemetry import CONTENT_TYPE

router = APIRouter(tags=["system"])


@router.get("/healthz", response_model=Health, summary="Is the process alive?")
async def get_health() -> Response:
    """Answer as long as the process does. Needs no key."""
    return answer(Health())


@router.get("/readyz", response_model=Readiness, summary="Is new work taken?")
async def get_readiness(request: Request, node: NodePart) -> Response:
    """Look at database, blob store, engine and disk. 503 while the service starts or stops, or a part fails.

    Needs no key. What is wrong with a part is told to keys with the scope `operator` alone.
    """
    try:
        return answer(Readiness(checks=await node.check_ready()))
    except (NotReady, ServiceStopping) as error:
        # An answer and no failure: whoever asks every second must not fill the log.
        key = caller_of(request.scope)
        told = error.detail if key is not None and is_operator(key) else None
        return problem(
            status=STATUSES[error.code],
            code=error.code,
            detail=told or error.message,
            retryable=True,
            headers={"Retry-After": "1"},
            scope=request.scope,
        )


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus's text format.",
            "content": {"text/plain": TEXT},
        }
    },
    summary="Read the metrics",
)
async def get_metrics(_: Operator, telemetry: TelemetryPart) -> Response:
    """Return everything that is counted and measured, for Prometheus.

    No label names a team, a key, a job or a script.
    """
    return Response(await telemetry.scrape(), media_type=CONTENT_TYPE)


@router.get("/v1/node", response_model=Node, summary="Look at the node")
async def get_node(_: Operator, node: NodePart) -> Response:
    """Return what the service runs on, how much of it is used, the queue's length and the workers."""
    return answer(await node.read())
