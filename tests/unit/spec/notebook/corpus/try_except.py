# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
try:
    import flash_attn
    attn, bs = "flash", 8
except ImportError:
    attn, bs = "sdpa", 4
try:
    lr = float("1e-4")
    steps = 10
except ValueError:
    raise
seed = 1
try:
    print(undefined)
except NameError:
    pass
args = SFTConfig("o", per_device_train_batch_size=bs, learning_rate=lr, max_steps=steps, seed=seed)
SFTTrainer(model=model, args=args, train_dataset=ds).train()
