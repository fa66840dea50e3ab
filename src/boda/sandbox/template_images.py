"""The images of a platform's templates, by the sandbox that writes each."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from boda.sandbox import plan
from boda.sandbox.contract import Interpreter, Sandbox, SandboxError, SandboxSpec
from boda.sandbox.init_pool import InitPool
from boda.sandbox.template_image import OWN_MB, TemplateImage
from boda.sandbox.zygote_pool import ZygoteKey, ZygotePool


class TemplateImages:
    """Makes an image for each template, and the zygote and inits that its forks come from.

    refill: starts to make inits of a zygote.
    """

    def __init__(
        self, zygotes: ZygotePool, inits: InitPool, refill: Callable[[ZygoteKey], None]
    ) -> None:
        self._zygotes = zygotes
        self._inits = inits
        self._refill = refill
        self._numbers = itertools.count(1)
        self._images: dict[Sandbox, TemplateImage] = {}
        self._ripening: dict[TemplateImage, asyncio.Task[None]] = {}

    def of(self, template: Sandbox) -> TemplateImage:
        """Return a template's image. Raises SandboxError if it has been forgotten."""
        image = self._images.get(template)
        if image is None:
            raise SandboxError("the template is gone")
        return image

    def make(self, interpreter: Interpreter, spec: SandboxSpec) -> TemplateImage:
        """Return an image to be written by a new template."""
        if interpreter.kind != "python":
            raise SandboxError("templates are of Python runtimes")
        limit = (spec.memory_mb + spec.ephemeral_mb + OWN_MB) * plan.MIB
        key = ZygoteKey(interpreter.interpreter, "bare", next(self._numbers))
        return TemplateImage(key, limit)

    def add(self, template: Sandbox, image: TemplateImage) -> None:
        """Keep the image of a template that starts."""
        self._images[template] = image

    def receive(self, image: TemplateImage, interpreter: Interpreter) -> None:
        """Receive an image, and make its zygote before the first fork is wanted."""
        image.receive()
        self._ripening[image] = asyncio.create_task(self._ripen(image, interpreter))

    async def _ripen(self, image: TemplateImage, interpreter: Interpreter) -> None:
        if await image.completed():
            await self.zygote(image, interpreter)
            self._refill(image.key)

    def zygote(self, image: TemplateImage, interpreter: Interpreter) -> Awaitable[object]:
        return self._zygotes.of_image(image.key, interpreter, image.image)

    async def ripe(self, template: Sandbox) -> None:
        """Return when the template can be forked at once. Raises SandboxError if it cannot."""
        image = self.of(template)
        await image.complete()
        ripening = self._ripening.get(image)
        if ripening is None:
            raise SandboxError("the template is gone")
        await asyncio.shield(ripening)

    async def forget(self, template: Sandbox) -> None:
        """Close a template's image, and end its zygote and its inits. Its forks live on."""
        image = self._images.pop(template, None)
        if image is None:
            return
        image.close()
        ripening = self._ripening.pop(image, None)
        if ripening is not None:
            await asyncio.wait({ripening})
            ripening.exception()  # ``ripe`` has raised it
        await self._inits.drop(image.key)
        await self._zygotes.dismiss(image.key)
