"""LoRA fine-tuning of open vision-language models on scene folders."""
