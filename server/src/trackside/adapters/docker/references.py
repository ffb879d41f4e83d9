"""Names of images, and the registries they lead to. Pure."""

from collections.abc import Collection

DEFAULT_REGISTRY = "default"
"""Stands in a list of registries for the one that an engine asks for images that name none."""


def split_reference(reference: str) -> tuple[str, str]:
    """Repository and tag of `host:5000/name:tag`; no tag means `latest`. Not for digests, which can't be given as names."""
    head, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:
        return reference, "latest"
    return head, tag


def mirrored(image: str, mirror: str) -> str:
    """The name under which a mirror has an image. Images that name their own registry are not mirrored."""
    if not mirror or registry_of(image):
        return image
    return f"{mirror.rstrip('/')}/{image if '/' in image else f'library/{image}'}"


def registry_of(image: str) -> str:
    """The registry that an image names, as engines understand it (`host` or `host:port`); "" where it names none."""
    first, slash, _ = image.partition("/")
    names_registry = slash and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    return first.lower() if names_registry else ""


def may_ask(image: str, registries: Collection[str]) -> bool:
    """Whether the image's registry is among the only ones that may be asked; none given: any may."""
    return not registries or (registry_of(image) or DEFAULT_REGISTRY) in registries
