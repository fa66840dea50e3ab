// The handler as a Google Cloud function.
const functions = require("@google-cloud/functions-framework");
const { handle } = require("./handler");

functions.http("handle", (request, response) => response.json(handle(request.body)));
