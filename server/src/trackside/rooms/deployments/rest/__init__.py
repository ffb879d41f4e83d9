"""REST door of deployments, and of projects with what runs in them."""

from litestar import Router

from trackside.rooms.deployments.rest import deployments, instances, projects, queue

router = Router(
    "/v1",
    route_handlers=[*projects.HANDLERS, *instances.HANDLERS, *deployments.HANDLERS, *queue.HANDLERS],
    tags=["deployments"],
)
