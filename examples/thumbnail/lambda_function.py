"""The classic first Lambda: a photograph arrives in a bucket, a thumbnail is put back."""

import io
import urllib.parse

import boto3
from PIL import Image, ImageOps

s3 = boto3.client("s3")


def lambda_handler(event, context):
    made = []
    for record in event["Records"]:
        bucket = record["s3"]["bucket"]["name"]
        key = urllib.parse.unquote_plus(record["s3"]["object"]["key"])
        print(f"making a thumbnail of s3://{bucket}/{key}")

        photo = Image.open(s3.get_object(Bucket=bucket, Key=key)["Body"])
        thumbnail = ImageOps.fit(photo.convert("RGB"), (200, 200))
        data = io.BytesIO()
        thumbnail.save(data, "JPEG", quality=85)

        target = "thumbnails/" + key.rsplit("/", 1)[-1]
        s3.put_object(
            Bucket=bucket, Key=target, Body=data.getvalue(), ContentType="image/jpeg"
        )
        print(f"{photo.size[0]}x{photo.size[1]} became 200x200 at s3://{bucket}/{target}")
        made.append(target)
    return {"thumbnails": made}
