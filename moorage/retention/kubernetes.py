"""What runs in a cluster of Kubernetes, from what `kubectl get pods -A -o json` prints.

A pod's status has the images that were pulled, in the form of its runtime. Its spec, and the spec
of every object that creates pods, has the images that are to run. This module must never accept a
list that was cut off.
Source: Kubernetes API reference, PodSpec and PodStatus.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from moorage.common.errors import UsageError
from moorage.retention.running import Running

_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
# Where a pod's spec stands: of a pod itself, of what makes pods, of a CronJob.
_SPECS = (
    ("spec",),
    ("spec", "template", "spec"),
    ("spec", "jobTemplate", "spec", "template", "spec"),
)
_SHA = "sha256:"
_WANTED = "what `kubectl get pods -A -o json` prints"


def running(text: str) -> Sequence[Running]:
    """Read the images of pods, and of what makes pods; raises UsageError."""
    try:
        return [*_of_document(_document(text))]
    except (AttributeError, LookupError, TypeError):
        raise _other_json() from None


def _of_document(document: Mapping[str, Any]) -> Iterator[Running]:
    for item in document.get("items", [document]):
        metadata = item.get("metadata") or {}
        kind, name = str(item.get("kind") or "Pod").lower(), metadata.get("name", "")
        of = f"{metadata.get('namespace', '')}/{'' if kind == 'pod' else f'{kind}/'}{name}"
        for path in _SPECS:
            spec: Any = item
            for step in path:
                spec = spec.get(step) or {} if isinstance(spec, dict) else {}
            if spec.get("containers"):
                yield from _of_pod(spec, item.get("status") or {}, f"k8s {of}")


def _of_pod(spec: Mapping[str, Any], status: Mapping[str, Any], by: str) -> Iterator[Running]:
    pulled = {
        each["name"]: each for key in _STATUSES for each in status.get(key) or [] if "name" in each
    }
    for key in _CONTAINERS:
        for container in spec.get(key) or []:
            state = pulled.pop(container.get("name"), {})
            yield from _of_container(container.get("image", ""), state, by)
    for state in pulled.values():
        yield from _of_container("", state, by)
    for volume in spec.get("volumes") or []:
        if image := (volume.get("image") or {}).get("reference"):
            yield Running(str(image), by)


def _of_container(image: str, state: Mapping[str, Any], by: str) -> Iterator[Running]:
    """Give a container's images: a runtime may name another repository that has the same digest."""
    image_id = str(state.get("imageID") or "")
    repository, _, digest = image_id.rpartition("@")
    bare = image_id.rpartition("/")[2]
    guess = bare if bare.startswith(_SHA) else ""
    for named in dict.fromkeys(filter(None, (image, str(state.get("image") or "")))):
        if not named.startswith(_SHA):
            yield Running(named, by, digest if repository else "", guess)
    if repository:
        yield Running(image_id, by)


def _document(text: str) -> dict[str, Any]:
    if not text.strip():
        raise UsageError(f"there is nothing to read, in place of {_WANTED}: did kubectl fail?")
    try:
        document: Any = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{_WANTED} is wanted: this can't be read as JSON: {error}") from None
    if not isinstance(document, dict):
        raise _other_json()
    items = document.get("items", [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise _other_json()
    if (document.get("metadata") or {}).get("continue"):
        raise UsageError("the list is cut: let kubectl print all of it, without a limit")
    return dict(document)


def _other_json() -> UsageError:
    return UsageError(f"{_WANTED} is wanted: this is other JSON")
