"""AWS services that boda lacks: facts for the answers to their requests."""

from __future__ import annotations

from boda.gateway.calling.absent import Absent

LACKING = {
    "airflow": Absent(("mwaa",)),
    "aoss": Absent(("opensearchserverless",)),
    "cloudfront": Absent(wire="rest-xml"),
    "ec2": Absent(wire="ec2"),
    "elasticfilesystem": Absent(("efs",)),
    "elasticloadbalancing": Absent(("elbv2",)),
    "email": Absent(("ses",)),
    "es": Absent(("opensearch", "es")),
    "execute-api": Absent(("apigatewaymanagementapi",)),
    "monitoring": Absent(("cloudwatch",)),
    "route53": Absent(wire="rest-xml"),
    "s3control": Absent(wire="rest-xml"),
    "states": Absent(("stepfunctions",)),
    "tagging": Absent(("resourcegroupstaggingapi",)),
}
"""By signing name."""
