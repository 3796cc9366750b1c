"""A model of transformers asked the plain way, one question at a time: what `LocalVLM` is measured against."""

import io
from pathlib import Path
from typing import Any

from gpt4scene.prompting.conversation import Image
from gpt4scene.vlm.protocol import Request


class PlainModel:
    """`processor.apply_chat_template`, then `model.generate`, as model cards show it."""

    def __init__(self, folder: Path, *, adapter: Path | None = None, dtype: str = "float32") -> None:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.processor: Any = AutoProcessor.from_pretrained(folder)
        self.model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
        if adapter is not None:
            from peft import PeftModel

            self.model = PeftModel.from_pretrained(self.model, adapter).eval()

    def inputs(self, request: Request) -> Any:
        """What the processor makes of a request."""
        from PIL import Image as Picture

        messages = [
            {
                "role": message.role,
                "content": [
                    {"type": "image", "image": Picture.open(io.BytesIO(part.read()))}
                    if isinstance(part, Image)
                    else {"type": "text", "text": part.text}
                    for part in message.parts
                ],
            }
            for message in request.conversation.messages
        ]
        tiles = {"crop_to_patches": False} if self.model.config.model_type == "internvl" else {}
        return self.processor.apply_chat_template(
            messages,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            add_generation_prompt=True,
            processor_kwargs=tiles,
        )

    def text(self, request: Request) -> str:
        """The answer, greedy."""
        inputs = self.inputs(request)
        made = self.model.generate(**inputs, max_new_tokens=request.max_new_tokens, do_sample=False)
        return self.processor.tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
