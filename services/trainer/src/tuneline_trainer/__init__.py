"""Stage trainer: LoRA or QLoRA fine-tune of the base model."""
