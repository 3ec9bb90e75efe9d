# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
import mylib
cfg = {"lr": 1e-4}
class P:
    bs = 2
p = P()
mylib.tune(cfg, p)
args = SFTConfig("o", learning_rate=cfg["lr"], per_device_train_batch_size=p.bs, max_steps=3)
mylib.report(ds)
args.max_steps = 30
SFTTrainer(model=model, args=args, train_dataset=ds).train()
