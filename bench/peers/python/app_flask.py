"""The handler behind Flask."""

from flask import Flask, request
from handler import lambda_handler

app = Flask(__name__)


@app.post("/")
def handle():
    return lambda_handler(request.get_json(), None)
