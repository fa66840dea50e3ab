"""The handler behind FastAPI, as its tutorial does it."""

from fastapi import FastAPI
from handler import lambda_handler

app = FastAPI()


@app.post("/")
async def handle(event: dict):
    return lambda_handler(event, None)
