"""The handler as a Google Cloud function, in the framework's default form and its ASGI form."""

from handler import lambda_handler


def handle(request):
    return lambda_handler(request.get_json(), None)


async def handle_async(request):
    return lambda_handler(await request.json(), None)
