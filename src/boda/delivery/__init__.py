"""The post office: durable asynchronous invocation and delivery to targets by ARN."""
