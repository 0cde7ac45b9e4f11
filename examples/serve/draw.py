"""Draw and watch, edit, and ask, with OpenAI's client. ILLUME_URL and ILLUME_API_KEY say where and who."""

import base64
import os
from pathlib import Path

import openai

url = os.environ.get("ILLUME_URL", "http://127.0.0.1:8000/v1")
client = openai.OpenAI(base_url=url, api_key=os.environ.get("ILLUME_API_KEY", "none"))
model = client.models.list().data[0].id

events = client.images.generate(
    prompt="a red circle", stream=True, partial_images=3, extra_body={"seed": 3, "guidance_scale": 2.0}
)
for event in events:  # partial pictures, then the whole one
    print(event.type)
    Path("drawn.png").write_bytes(base64.b64decode(event.b64_json))

answer = client.images.edit(image=Path("drawn.png"), prompt="color the circle green", extra_body={"seed": 3})
Path("edited.png").write_bytes(base64.b64decode(answer.data[0].b64_json))

shown = f"data:image/png;base64,{base64.b64encode(Path('edited.png').read_bytes()).decode()}"
question = [{"type": "image_url", "image_url": {"url": shown}}, {"type": "text", "text": "how many objects are there?"}]
words = client.chat.completions.create(
    model=model, messages=[{"role": "user", "content": question}], max_tokens=8, stream=True
)
print("".join(chunk.choices[0].delta.content or "" for chunk in words if chunk.choices))
