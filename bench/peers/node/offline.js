// The handler behind the API gateway that serverless-offline plays.
const { handle } = require("./handler");

exports.handler = async (event) => ({
  statusCode: 200,
  headers: { "content-type": "application/json" },
  body: JSON.stringify(handle(JSON.parse(event.body))),
});
