"""The function that every Python server here runs, boda among them."""


def lambda_handler(event, context):
    return {"hello": event["name"], "total": sum(event["numbers"])}
