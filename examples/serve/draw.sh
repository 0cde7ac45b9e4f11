#!/usr/bin/env bash
# Draw, then edit what was drawn, with curl. ILLUME_URL and ILLUME_API_KEY say where and who.
set -euo pipefail
url=${ILLUME_URL:-http://127.0.0.1:8000/v1}
key=${ILLUME_API_KEY:-none}

picture() { python3 -c 'import base64, json, sys; sys.stdout.buffer.write(base64.b64decode(json.load(sys.stdin)["data"][0]["b64_json"]))'; }

curl --fail-with-body --silent --show-error "$url/images/generations" \
    -H "Authorization: Bearer $key" -H "Content-Type: application/json" \
    -d '{"prompt": "a red circle", "seed": 3}' | picture > drawn.png

curl --fail-with-body --silent --show-error "$url/images/edits" \
    -H "Authorization: Bearer $key" \
    -F image=@drawn.png -F prompt="color the circle green" -F seed=3 | picture > edited.png
