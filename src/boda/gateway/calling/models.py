"""botocore's service models and the protocols over them, loaded at first use and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import DataNotFoundError
from botocore.loaders import Loader
from botocore.model import ServiceModel

from boda.gateway.calling.validation import Validator
from boda.gateway.dialect import Dialect, of_protocol
from boda.gateway.protocols import Protocol, protocol_for


class Models:
    """Botocore's models, in the form in which the gateway uses them.

    Only the models that come with botocore are read, not those of the user's home folder, so that
    every machine answers alike.
    """

    def __init__(
        self, folders: Sequence[Path] = (), dialects: Mapping[str, Dialect] | None = None
    ) -> None:
        """folders: of models that botocore does not have, laid out as botocore's own. dialects: by
        service; a service without one has its protocol family's."""
        self._dialects = dialects or {}
        self._loader = Loader(
            extra_search_paths=[Loader.BUILTIN_DATA_PATH, *map(str, folders)],
            include_default_search_paths=False,
        )
        self._services: dict[str, ServiceModel] = {}
        self._protocols: dict[tuple[str, str], Protocol] = {}
        self._validators: dict[str, Validator] = {}
        self._paginators: dict[str, Mapping[str, Any]] = {}

    def service(self, name: str) -> ServiceModel:
        """Return the model of botocore's service of that name. Raises botocore's
        UnknownServiceError."""
        model = self._services.get(name)
        if model is None:
            description = self._loader.load_service_model(name, "service-2")
            model = self._services[name] = ServiceModel(description, service_name=name)
        return model

    def dialect(self, name: str) -> Dialect:
        return self._dialects.get(name) or of_protocol(str(self.service(name).resolved_protocol))

    def protocol(self, name: str, spoken: str = "") -> Protocol:
        """Return the service's protocol, or another of those it accepts.

        spoken: ``query`` for an older client of a service that has moved to json or cbor …
        """
        key = (name, spoken)
        protocol = self._protocols.get(key)
        if protocol is None:
            protocol = self._protocols[key] = protocol_for(
                self.service(name), spoken, self.dialect(name).form
            )
        return protocol

    def validator(self, name: str) -> Validator:
        validator = self._validators.get(name)
        if validator is None:
            validator = Validator(self.service(name), self.dialect(name).validation)
            self._validators[name] = validator
        return validator

    def paginator(self, name: str, operation: str) -> Mapping[str, Any] | None:
        """Return how an operation of a service is paged. None if botocore has it unpaged."""
        found = self._paginators.get(name)
        if found is None:
            try:
                found = self._loader.load_service_model(name, "paginators-1")["pagination"]
            except DataNotFoundError:
                found = {}
            self._paginators[name] = found
        return found.get(operation)

    def names(self) -> list[str]:
        """Return the names of all services of botocore."""
        found: list[str] = self._loader.list_available_services("service-2")
        return found
