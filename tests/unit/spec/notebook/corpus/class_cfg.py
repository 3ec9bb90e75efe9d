# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
class CFG:
    seed = 7
    lr = 2e-4
    bs = 2
    accum = 16 // bs
    model = "acme/other"
    targets = ["q_proj", "v_proj"]
class Debug(CFG):
    bs = 1
CFG.lr = CFG.lr / 2
cfg = Debug()
cfg.epochs = 3
lora = LoraConfig(r=8, lora_alpha=2 * 8, lora_dropout=0.05, target_modules=CFG.targets, task_type=TaskType.CAUSAL_LM)
args = TrainingArguments("o", learning_rate=cfg.lr, per_device_train_batch_size=cfg.bs, gradient_accumulation_steps=cfg.accum, seed=CFG.seed, num_train_epochs=cfg.epochs)
SFTTrainer(model=AutoModelForCausalLM.from_pretrained(CFG.model), args=args, train_dataset=ds, peft_config=lora).train()
