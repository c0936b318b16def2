"""From prompts to masks: `model.load`, interactive `Session`, and batches."""
