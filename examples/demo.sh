#!/usr/bin/env bash
# From nothing to a thumbnail: the classic first Lambda with the unmodified AWS CLI.
# Every command is printed before its output. Exits with 0 only if the thumbnail is right.
set -euo pipefail
cd "$(dirname "$0")/.."

boda=$PWD/.venv/bin/boda
python=$PWD/.venv/bin/python
work=$PWD/.demo
data=$work/data
isolation=${BODA_ISOLATION:-full}

# The AWS CLI: version 2 for `aws logs tail`. Before 2.13 it does not know AWS_ENDPOINT_URL.
aws=aws
if ! aws --version 2>/dev/null | grep -q '^aws-cli/2'; then aws=/usr/bin/aws; fi
if ! "$aws" --version 2>/dev/null | grep -q '^aws-cli/2'; then
  echo "demo: the AWS CLI of version 2 is needed (on Debian: apt-get install awscli)." >&2
  exit 1
fi
endpoint_option() {
  local minor
  minor=$("$aws" --version | sed -E 's|^aws-cli/2\.([0-9]+)\..*|\1|')
  [ "$minor" -ge 13 ] || printf -- '--endpoint-url %s ' "$AWS_ENDPOINT_URL"
}

pid=
finish() {
  local status=$?
  trap - EXIT INT TERM
  if [ -n "$pid" ]; then
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  fi
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT INT TERM

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n# %s\n' "$*"; }
# Prints a command as one would type it, then runs it.
run() {
  local shown=()
  local word
  for word in "$@"; do
    [ "$word" != "$aws" ] || word=aws
    [ "$word" != "$boda" ] || word=boda
    case $word in
      *[!A-Za-z0-9_@%+=:,./-]*) word="'$word'" ;;
    esac
    shown+=("$word")
  done
  printf '$ %s\n' "${shown[*]}"
  "$@"
}

rm -rf "$work"
mkdir -p "$work/build"

say "Start boda"
# Starts it on a port and waits for its word; fails if it ends before that.
up() {
  printf '$ boda up --port %s --data-dir .demo/data\n' "$1"
  "$boda" up --port "$1" --data-dir "$data" --isolation "$isolation" >"$work/boda.log" 2>&1 &
  pid=$!
  for _ in $(seq 300); do
    grep -q 'boda is ready' "$work/boda.log" && return
    kill -0 "$pid" 2>/dev/null || { pid=; return 1; }
    sleep 0.1
  done
  return 1
}
if ! up 4566; then
  # Where somebody has that port already, any free one will do.
  grep -q 'is in use by another program' "$work/boda.log" && up 0 || { cat "$work/boda.log" >&2; exit 1; }
fi
cat "$work/boda.log"

export AWS_CONFIG_FILE=$work/no-config AWS_SHARED_CREDENTIALS_FILE=$work/no-credentials AWS_PAGER=
unset AWS_PROFILE AWS_SESSION_TOKEN AWS_REGION
printf '$ eval "$(boda env --data-dir .demo/data)"\n'
eval "$("$boda" env --data-dir "$data")"
read -ra at <<<"$(endpoint_option)"

say "The runtimes of this machine"
run "$boda" runtimes
runtime=$("$boda" runtimes --json | "$python" -c 'import json,sys; names=[r["Name"] for r in json.load(sys.stdin) if r["Name"].startswith("python3.")]; print(max(names, key=lambda n: int(n[8:])))')

say "A role for the function, and a bucket"
trust='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}'
policy='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::photos/*"},{"Effect":"Allow","Action":"logs:*","Resource":"*"}]}'
run "$aws" "${at[@]}" iam create-role --role-name lambda-execution-role --assume-role-policy-document "$trust"
run "$aws" "${at[@]}" iam put-role-policy --role-name lambda-execution-role --policy-name photos --policy-document "$policy"
run "$aws" "${at[@]}" s3 mb s3://photos

say "The function: a handler and Pillow, zipped ($runtime)"
printf '$ pip install --target build pillow && zip function.zip …\n'
.venv/bin/pip install -q --disable-pip-version-check --root-user-action=ignore \
  --target "$work/build" --python-version "${runtime#python}" --only-binary=:all: --require-hashes \
  -r requirements/demo.txt
cp examples/thumbnail/lambda_function.py "$work/build/"
(cd "$work/build" && zip -qr ../function.zip . -x '*/__pycache__/*')
ls -l "$work/function.zip" | awk '{print $5, "bytes"}'
cp examples/thumbnail/photo.jpg "$work/photo.jpg"
cd "$work"
run "$aws" "${at[@]}" lambda create-function --function-name ImageResizer --runtime "$runtime" \
  --zip-file fileb://function.zip --handler lambda_function.lambda_handler \
  --role arn:aws:iam::000000000000:role/lambda-execution-role --memory-size 512 --timeout 10
run "$aws" "${at[@]}" lambda wait function-active-v2 --function-name ImageResizer

say "Let the bucket wake the function"
run "$aws" "${at[@]}" lambda add-permission --function-name ImageResizer --statement-id photos \
  --action lambda:InvokeFunction --principal s3.amazonaws.com --source-arn arn:aws:s3:::photos \
  --source-account 000000000000
notify='{"LambdaFunctionConfigurations":[{"LambdaFunctionArn":"arn:aws:lambda:us-east-1:000000000000:function:ImageResizer","Events":["s3:ObjectCreated:*"],"Filter":{"Key":{"FilterRules":[{"Name":"prefix","Value":"uploads/"}]}}}]}'
run "$aws" "${at[@]}" s3api put-bucket-notification-configuration --bucket photos --notification-configuration "$notify"

say "Upload a photograph"
run "$aws" "${at[@]}" s3 cp photo.jpg s3://photos/uploads/photo.jpg
"$python" - <<'PY'
import sys, time
import boto3
s3 = boto3.client("s3")
uploaded = s3.head_object(Bucket="photos", Key="uploads/photo.jpg")["LastModified"]
end = time.monotonic() + 15
while True:
    try:
        s3.head_object(Bucket="photos", Key="thumbnails/photo.jpg")
        break
    except s3.exceptions.ClientError:
        if time.monotonic() > end:
            sys.exit("demo: no thumbnail appeared within 15 seconds")
        time.sleep(0.02)
PY
run "$aws" "${at[@]}" s3 ls s3://photos --recursive
run "$aws" "${at[@]}" s3 cp s3://photos/thumbnails/photo.jpg thumbnail.jpg
size=$(PYTHONPATH= "$python" - thumbnail.jpg <<'PY'
import struct, sys
# Width and height from the JPEG's start-of-frame segment.
data = open(sys.argv[1], "rb").read()
at = 2
while True:
    marker, length = struct.unpack(">HH", data[at : at + 4])
    if 0xFFC0 <= marker <= 0xFFC3:
        height, width = struct.unpack(">HH", data[at + 5 : at + 9])
        print(f"{width}x{height}")
        break
    at += 2 + length
PY
)
echo "the thumbnail is $size"

say "What the function logged"
for _ in $(seq 40); do
  "$aws" "${at[@]}" logs tail /aws/lambda/ImageResizer 2>/dev/null | grep -q REPORT && break
  sleep 0.25
done
run "$aws" "${at[@]}" logs tail /aws/lambda/ImageResizer

say "What it cost"
run "$boda" cost --data-dir "$data"

if [ "$size" != 200x200 ]; then
  echo "demo: the thumbnail should be 200x200 but is ${size:-missing}" >&2
  exit 1
fi
say "Done: the photograph became a 200x200 thumbnail."
