# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
trainer = SFTTrainer(model=model, args=SFTConfig("o", max_steps=100), train_dataset=ds)
# %%
#meta {"execution": {"iopub.execute_input": "2024-05-01T10:00:00.000000Z", "shell.execute_reply": "2024-05-01T10:10:30.500000Z"}, "papermill": {"duration": 630.25}}
trainer.train()
#>> {'loss': 1.2, 'epoch': 0.5}
#>> {'train_runtime': 600.0, 'train_samples_per_second': 1.3, 'train_steps_per_second': 0.25, 'train_loss': 1.0}
