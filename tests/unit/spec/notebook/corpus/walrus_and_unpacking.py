# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
(lr, steps), *rest = (1e-4, 40), 2, 3
a, b = b, a = 4, 8
if (n := len(rest)) == 2:
    seed = n
print(top := 6)
names = {k: v for k, v in zip(["x"], [1])}
args = SFTConfig("o", learning_rate=lr, max_steps=steps, seed=seed, per_device_train_batch_size=a, gradient_accumulation_steps=top, num_train_epochs=rest[-1])
SFTTrainer(model=model, args=args, train_dataset=ds).train()
