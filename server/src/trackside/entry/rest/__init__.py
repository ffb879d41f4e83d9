"""The REST door: one application, one transaction per request, one place that turns errors into statuses."""
